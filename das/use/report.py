"""Report: a run as one HTML file, to show and to keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from das.draw.page.assemble import page
from das.errors import DasError
from das.ground.storage import write as write_whole
from das.run.beside import attached
from das.run.folder import Folder
from das.text import html_frame

FILE = "report.html"
HEIGHT = 900
"""Of the page in a notebook, pixels."""


class Page(type(Path())):  # type: ignore[misc]
    """The path of a page; a notebook shows the page itself."""

    def _repr_html_(self) -> str:
        return html_frame("das report", self.read_text("utf-8"), HEIGHT, "allow-scripts allow-downloads")


def write(
    run: str | Path | Folder, out: str | Path | None = None, beside: Sequence[str | Path] | None = None
) -> Page:  # fmt: skip
    """Writes the page of a run, or of a run's folder, by default as `report.html` into that, and returns its path. The run may
    still be going on: then the page shows what is there. beside: folders of circuits and edits that stand in it too, by default
    those in the run's folder `beside`. DasError where there is no run, one of them is of another task or network, or the page
    cannot be written."""
    run = run if isinstance(run, Folder) else Folder(run)
    return _written(run, page(run, attached(run, beside)), out)


def _written(run: Folder, text: str, out: str | Path | None = None) -> Page:
    path = Page(run.folder / FILE if out is None else out)
    write_whole(path, lambda made: made.write_text(text, "utf-8"), noted=out is None)
    return path


def refresh(run: Folder, stage: str) -> None:
    """Writes the page anew after a stage of a run (see `Experiment.run`). What lies beside it and does not belong there does
    not stop it: it is left out, and `das report` says why."""
    try:
        found = attached(run)
    except DasError:
        found = []
    _written(run, page(run, found))
