"""Trained: the finder of the kinds that train, all cells in one grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from das.find.alignment import Alignment, Cell
from das.find.rank import settle
from das.find.search import Search
from das.find.train import train


def find(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """Trains the cells and settles their ranks."""
    done = train(cells, search)
    with search.report.task(f"{search.stage}: ranks of {len(done)} cells", 1) as step:
        settle(done, search.engine, search.data["val"], partial(step, note=""), search.room)
    return done
