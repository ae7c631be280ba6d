"""Report: a run as one HTML file, to show and to keep."""

from __future__ import annotations

from pathlib import Path

from das.draw.page.assemble import page
from das.ground.storage import write as write_whole
from das.run.folder import Folder
from das.text import html_frame

FILE = "report.html"
HEIGHT = 900
"""Of the page in a notebook, pixels."""


class Page(type(Path())):  # type: ignore[misc]
    """The path of a page; a notebook shows the page itself."""

    def _repr_html_(self) -> str:
        return html_frame("das report", self.read_text("utf-8"), HEIGHT, "allow-scripts allow-downloads")


def write(run: str | Path | Folder, out: str | Path | None = None) -> Page:
    """Writes the page of a run, or of a run's folder, by default as `report.html` into that, and returns its path. The run may
    still be going on: then the page shows what is there. DasError where there is no run, or the page cannot be written."""
    run = run if isinstance(run, Folder) else Folder(run)
    text = page(run)
    path = Page(run.folder / FILE if out is None else out)
    write_whole(path, lambda made: made.write_text(text, "utf-8"), noted=out is None)
    return path


def refresh(run: Folder, stage: str) -> None:
    """Writes the page anew after a stage of a run (see `Experiment.run`)."""
    write(run)
