"""Alignment: a cell, and what training it gave."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as tensors_of
from safetensors.torch import save_file

from das.errors import DasError
from das.find.kinds import Full, Kind, Random, parse_kind, plain_kind, short_name
from das.find.stack import SubspaceStack
from das.ground.storage import load, read_json
from das.interchange.subspace import Subspace
from das.network.site import Site

PLACE_BYTES = 120
"""Of a site in a cell's id, which is a folder's name: a longer one, or one that is a path, goes by a number."""


def _hashed(text: str) -> str:
    return f"site{zlib.crc32(text.encode()):08x}"


@dataclass(frozen=True)
class Cell:
    """One alignment to train: hypothesis × site × kind of subspace × seed."""

    hypothesis: str
    site: Site
    kind: Kind
    seed: int = 0

    @property
    def id(self) -> str:
        """A folder's name; cells that differ in anything differ in it."""
        detail = zlib.crc32(repr(self.kind).encode()) & 0xFFFF
        component = "" if self.site.component == "block_output" else f"{self.site.component.replace('{layer}', 'N')}."
        where = f"L{self.site.layer:02d}.{component}{self.site.position}"
        kept = where if len(where.encode()) <= PLACE_BYTES and "/" not in where else f"L{self.site.layer:02d}.{_hashed(where)}"
        return f"{self.hypothesis}-{kept}-{short_name(self.kind)}.{detail:04x}-s{self.seed}"

    @property
    def generator_seed(self) -> int:
        """What the cell's random numbers depend on: itself alone, so that its result does not depend on its company."""
        return zlib.crc32(self.id.encode())

    @property
    def trains(self) -> bool:
        return not isinstance(self.kind, Full | Random)


@dataclass
class Alignment:
    """A cell with its subspaces: `hard` is what is evaluated; `soft` is Boundless' last training mask, else the same."""

    cell: Cell
    hard: Subspace
    soft: Subspace
    steps: int = 0

    @property
    def rank(self) -> int:
        return self.hard.rank

    @property
    def boundary(self) -> int:
        """Columns below Boundless' boundary, those that nobody needs among them. Where they are not as many as `rank`, the
        boundary had not settled when the training ended."""
        return self.soft.rank

    def save(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Writes `alignment.safetensors` and `card.json` (the cell, and what `card` adds) into an existing folder."""
        tensors = {"hard": self.hard.mask.clone(), "soft": self.soft.mask.clone()}
        if self.hard.basis is not None:
            tensors["basis"] = self.hard.basis.contiguous().clone()
        save_file(tensors, folder / "alignment.safetensors")
        cell = asdict(self.cell) | {"kind": plain_kind(self.cell.kind)}
        body = {"cell": cell, "steps": self.steps, "rank": self.rank, "boundary": self.boundary, **card}
        (folder / "card.json").write_text(json.dumps(body, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Alignment:
        """From a cell's folder. DasError where a file of it is missing or not as it was written."""
        folder = Path(folder)
        if not (folder / "card.json").is_file():
            raise DasError(f"no alignment in {folder}: expected alignment.safetensors and card.json")
        card = read_json(folder / "card.json")
        tensors = load(folder / "alignment.safetensors", tensors_of)
        basis, given = tensors.get("basis"), card["cell"]
        cell = Cell(given["hypothesis"], Site(**given["site"]), parse_kind(given["kind"]), given["seed"])
        return cls(cell, Subspace(basis, tensors["hard"]), Subspace(basis, tensors["soft"]), card["steps"])


def untrained(cell: Cell, d: int, variables: int) -> Alignment:
    """The alignment of a kind that is not trained."""
    if isinstance(cell.kind, Full):
        whole = Subspace.whole(variables)
        return Alignment(cell, whole, whole)
    stack = SubspaceStack(cell.kind, d, variables, [cell.generator_seed])
    subspace = Subspace(stack.basis()[0].detach(), stack.hard_mask()[0])
    return Alignment(cell, subspace, subspace)
