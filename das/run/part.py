"""Part: one of several shares of a grid, each done by itself, wherever that is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from das.errors import DasError, shown
from das.find.alignment import Cell
from das.network.site import Site

MOST = 10_000


@dataclass(frozen=True)
class Part:
    """The number-th of so many, from 1."""

    number: int
    of_all: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        >>> Part.parse("2/4")
        Part(number=2, of_all=4)
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(text).strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
            raise DasError(f"shard is {shown(text)}: expected i/n, as 1/4 for the first of four, with n up to {MOST}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of_all}"

    @property
    def name(self) -> str:
        """As a file may be called."""
        return f"{self.number}-of-{self.of_all}"

    def of(self, cells: Sequence[Cell], costs: Sequence[float]) -> list[Cell]:
        """Its cells."""
        return parts_of(cells, costs, self.of_all)[self.number - 1]


def parts_of(cells: Sequence[Cell], costs: Sequence[float], parts: int) -> list[list[Cell]]:
    """The cells in so many parts of like cost, some perhaps empty. Cells at one site stay together: they are run at once, and
    come out the same however many parts there are."""
    sites: dict[Site, float] = {}
    for cell, cost in zip(cells, costs, strict=True):
        sites[cell.site] = sites.get(cell.site, 0) + cost
    loads, part = [0.0] * parts, {}
    for site in sorted(sites, key=lambda site: -sites[site]):
        part[site] = int(np.argmin(loads))
        loads[part[site]] += sites[site]
    return [[cell for cell in cells if part[cell.site] == i] for i in range(parts)]
