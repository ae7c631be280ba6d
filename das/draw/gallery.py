"""Gallery: all figures of a run, drawn into its folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from das.draw.dose import dose_figure
from das.draw.evidence import evidence, rank_curve
from das.draw.heatmaps import all_heatmaps, heatmap, measures_of
from das.ground.storage import write as write_file
from das.run.stages import DONE

if TYPE_CHECKING:
    from das.run.folder import Folder

ALL = "heatmaps.png"
"""The file of the heatmaps of all hypotheses."""


def maps(run: Folder) -> dict[str, Any]:
    """The heatmaps of a run, by the names of their files."""
    names = run.summary["hypotheses"]
    drawn = {f"heatmap_{name}.png": heatmap(run, name).get_figure() for name in names}
    for metric in measures_of(run):
        drawn |= {f"heatmap_{name}_{metric}.png": heatmap(run, name, metric=metric).get_figure() for name in names}
    return drawn | {ALL: all_heatmaps(run)}


def figures(run: Folder) -> list[Path]:
    """Draws every figure of a run into its folder; their paths."""
    drawn = maps(run)
    for name, entry in run.summary["hypotheses"].items():
        drawn[f"rank_{name}.png"] = rank_curve(run, name).get_figure()
        if entry.get("scorecard"):
            drawn[f"evidence_{name}.png"] = evidence(entry)
        if (entry.get("scorecard") or {}).get("dose"):
            drawn[f"dose_{name}.png"] = dose_figure(entry)
    return save(run.folder, drawn)


def pictures(run: Folder, stage: str) -> None:
    """Draws the heatmaps after a stage of a run; after the last one they are there."""
    if stage != DONE:
        save(run.folder, maps(run))


def save(folder: Path, drawn: Mapping[str, Any]) -> list[Path]:
    """Writes figures, by the names of their files; their paths."""
    for file, figure in drawn.items():
        write_file(folder / file, partial(figure.savefig, format="png", dpi=150))
    return [folder / file for file in drawn]
