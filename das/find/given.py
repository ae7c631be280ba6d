"""Given: a subspace that somebody else found, tried as it is (see `das.find.foreign` for what can be read)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from das.errors import DasError
from das.find.alignment import Alignment, Cell
from das.find.foreign import checksum, read_feature
from das.find.kinds import Kind
from das.find.search import Search
from das.ground.checks import PATH_BYTES, short_text
from das.interchange.feature import Feature, Listed


@dataclass(frozen=True)
class Given(Kind):
    """A subspace from a file or folder, tried as it is wherever vectors have its width. path: where it lies. sum: the first
    digits of its checksum, filled in by itself, so that a run is never gone on with from another."""

    learns: ClassVar[bool] = False
    operand: ClassVar[str] = "path"

    path: str = ""
    sum: str = ""

    def __post_init__(self) -> None:
        if not str(self.path):
            raise DasError("given names no subspace: expected given:FOLDER or given:FILE")
        object.__setattr__(self, "path", short_text("given.path", self.path, PATH_BYTES))
        object.__setattr__(self, "sum", short_text("given.sum", self.sum or checksum(self.path), PATH_BYTES))

    @property
    def label(self) -> str:
        return f"given {Path(self.path).stem}.{self.sum[:6]}"


def find(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """The given subspaces, each at its cells. DasError where one does not fit its site, or was changed since."""
    read = {kind: _read(kind) for kind in dict.fromkeys(cell.kind for cell in cells) if isinstance(kind, Given)}
    return [_placed(cell, read[cell.kind], search) for cell in cells if isinstance(cell.kind, Given)]


def _read(kind: Given) -> Feature:
    if checksum(kind.path) != kind.sum:
        raise DasError(f"{kind.path} is no longer what this run began with: put it back, or give the run another folder")
    return read_feature(kind.path)


def _placed(cell: Cell, feature: Feature, search: Search) -> Alignment:
    width, variables = search.data["val"].size(search.engine.lm, cell.site), search.variables[cell.hypothesis]
    if not feature.fits(width) or feature.variables != variables:
        raise DasError(
            f"{cell.kind.label} is of {feature.variables} variable(s){_width(feature)}, and {cell.hypothesis} at {cell.site} "
            f"has {variables} in vectors of {width} entries: choose layers, positions, components and hypotheses that it is for"
        )
    return Alignment(cell, feature)


def _width(feature: Feature) -> str:
    return f" in vectors of {feature.d} entries" if isinstance(feature, Listed) else ""
