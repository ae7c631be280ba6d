"""Search: what a finder is given, and the one door through which every finder is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from das.find.alignment import Alignment, Cell
from das.find.schedule import Schedule
from das.interchange.engine import Engine
from das.pairs.dataset import Dataset
from das.progress import Reporter, silent


@dataclass(frozen=True)
class Search:
    """Where alignments are looked for.

    data: `train`, to find them by, and `val`, to choose by. schedule: of what trains. folder: for checkpoints and logs; without
    one nothing is kept, and no training is gone on with. stage: what a progress bar calls the search. room: bytes for captures.
    halts: id of a cell → the step after which it is out of a race (see `das.find.race`).
    """

    engine: Engine
    data: Mapping[str, Dataset]
    schedule: Schedule = field(default_factory=Schedule)
    folder: Path | None = None
    stage: str = "search"
    logger: str = "none"
    report: Reporter = silent
    room: float = 0.0
    halts: Mapping[str, int] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, int]:
        """Hypothesis → how many variables it aligns."""
        return {name: len(pairs.sources) for name, pairs in self.data["train"].pairs.items()}


def align(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """The alignments of cells, each by the finder of its kind; those of one finder are looked for at once."""
    finders: dict[str, list[Cell]] = {}
    for cell in cells:
        module = f"das.find.{cell.kind.finder}" if cell.kind.finder else type(cell.kind).__module__
        finders.setdefault(module, []).append(cell)
    return [a for module, mine in finders.items() for a in importlib.import_module(module).find(mine, search)]
