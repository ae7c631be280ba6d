"""Early: what there is to see of a grid while it trains: what swapping the whole vector does, and how its cells do so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from das.find.alignment import Cell
from das.find.train import CHECKPOINTS, LOOKS
from das.ground.storage import read_json, write_json
from das.network.site import Site

REACH = "reach"
"""In place of a training's name: what swapping the whole vector does."""

EVERY = 20.0
"""Seconds at least between two looks."""


@dataclass(frozen=True)
class Early:
    """A table of numbers, a row per hypothesis and site: `iia`, on validation pairs, of the cells that have been checked, and
    `whole`, of swapping the whole vector; nan where there is none. steps: of the training, at the last check.

    names: hypothesis → its full name. tokens: position → the token there in an example prompt.
    """

    table: pd.DataFrame
    steps: int
    names: Mapping[str, str]
    tokens: Mapping[str, str]


def write_reach(folder: Path, whole: Mapping[tuple[str, Site], float]) -> None:
    """Writes what swapping the whole vector does, by hypothesis and site, into a run's folder."""
    cells = [{"hypothesis": name, **asdict(site), "iia": iia} for (name, site), iia in whole.items()]
    write_json(folder / CHECKPOINTS / REACH / LOOKS, {"step": 0, "cells": cells})


def early(folder: Path, grid: Sequence[Cell], names: Mapping[str, str], tokens: Mapping[str, str]) -> Early:
    """What there is in a run's folder."""
    found = {path.parent.name: read_json(path) for path in _looks(folder)}
    sites = dict.fromkeys((cell.hypothesis, cell.site) for cell in grid)
    table = pd.DataFrame([{"hypothesis": name, **asdict(site)} for name, site in sites])
    keys = list(table.columns)
    reach = found.pop(REACH, {"cells": []})["cells"]
    trained = [row for look in found.values() for row in look["cells"]]
    for column, rows in (("iia", trained), ("whole", reach)):
        frame = pd.DataFrame(rows, columns=[*keys, "iia"]).astype({"layer": table["layer"].dtype, "iia": float})
        table = table.merge(frame.groupby(keys)["iia"].mean().rename(column).reset_index(), how="left", on=keys)
    return Early(table, max((look["step"] for look in found.values()), default=0), names, tokens)


def _looks(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob(f"*/{LOOKS}"))


@dataclass
class Watch:
    """Calls `see` when a run's folder has something new to see, at most once in `EVERY` seconds."""

    folder: Path
    see: Callable[[], Any]
    clock: Callable[[], float] = time.monotonic
    looked: float = field(default=float("-inf"), init=False)
    seen: dict[Path, int] = field(default_factory=dict, init=False)

    def look(self) -> None:
        """To be called often."""
        if self.clock() - self.looked < EVERY:
            return
        there = {path: path.stat().st_mtime_ns for path in _looks(self.folder)}
        if there and there != self.seen:
            self.seen = there
            self.see()
            self.looked = self.clock()
