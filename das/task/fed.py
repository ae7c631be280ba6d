"""Fed: settings as tensors, and as a network is fed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.errors import DasError, unknown
from das.task.positions import Position, expand_positions, in_order, joined_text, single_positions
from das.task.rendered import Indices, Prompts, Rendered, hashed

SOLE = ""
"""The name of a network's one argument, which is given by its place."""

Span = int | Sequence[int]
"""A place, or several."""


@dataclass
class Feed(Prompts):
    """Tensors, by the names of a network's arguments, with the columns of the named positions: their places, from 0.

    tensors: (rows, …) each. places: how many an input has; None where it has none and counts as one column.
    """

    tensors: dict[str, Tensor]
    places: int | None = None
    positions: dict[str, Indices] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lengths = np.full(len(self), self.width)
        self.whole = self.places is None

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def width(self) -> int:
        return self.places or 1

    def take(self, rows: Any) -> Feed:
        some = rows if isinstance(rows, slice) else torch.as_tensor(np.asarray(rows), dtype=torch.long)
        tensors = {name: tensor[some] for name, tensor in self.tensors.items()}
        return Feed(tensors, self.places, {name: at[rows] for name, at in self.positions.items()})

    @classmethod
    def concat(cls, parts: Sequence[Feed]) -> Feed:
        shared = [name for name in parts[0].positions if all(name in part.positions for part in parts)]
        return Feed(
            {name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors},
            parts[0].places,
            {name: np.concatenate([part.positions[name] for part in parts]) for name in shared},
        )

    def prefix(self, most: int) -> Indices:
        return np.zeros(0, np.int64)

    def identities(self) -> Indices:
        return _identities(self.tensors)


@dataclass(frozen=True)
class Fed(Rendered):
    """Tensors (rows, …), how many places each row has, and name → the places of a position in each row, (rows, n)."""

    tensors: Mapping[str, Tensor]
    places: int | None
    spans: Mapping[str, Indices]

    @property
    def names(self) -> list[str]:
        """By what tells them apart: a hash."""
        return [f"input {number & (2**64 - 1):016x}" for number in self.identities().tolist()]

    def take(self, rows: int | Indices) -> Fed:
        rows = np.atleast_1d(rows)
        some = torch.from_numpy(rows)
        tensors = {name: tensor[some] for name, tensor in self.tensors.items()}
        return Fed(tensors, self.places, {name: at[rows] for name, at in self.spans.items()})

    def encode(self, tokenizer: Any = None, positions: Sequence[str] = ()) -> Feed:
        return Feed(dict(self.tensors), self.places, {name: self._resolve(name) for name in single_positions(positions)})

    def _resolve(self, spec: str) -> Indices:
        at, rows, width = Position.parse(spec), len(next(iter(self.tensors.values()))), self.places or 1
        if at.name and at.name not in self.spans:
            raise unknown(f"name in position {spec!r}:", at.name, [*self.spans, "first", "last"])
        span = self.spans[at.name] if at.name else np.broadcast_to(np.arange(width), (rows, width))
        if at.end is None:
            return span
        column = (span[:, 0] if at.end == "first" else span[:, -1]) + at.offset
        if ((column < 0) | (column >= width)).any():
            raise DasError(f"position {spec!r} lies outside an input, which has {width} place(s)")
        return column[:, None]

    def check(self, tokenizer: Any, positions: Sequence[str]) -> None:
        self.encode(tokenizer, expand_positions(positions))

    def identities(self, tokenizer: Any = None) -> Indices:
        return _identities(self.tensors)

    def coverage(self, tokenizer: Any, positions: Sequence[str]) -> dict[str, float]:
        return {spec: float(all(map(self._exists, single_positions([spec])))) for spec in positions}

    def _exists(self, spec: str) -> bool:
        try:
            self._resolve(spec)
        except DasError:
            return False
        return True

    def at(self, tokenizer: Any, positions: Sequence[str]) -> dict[str, str]:
        found = {name: self._resolve(name) for name in single_positions(positions)}
        texts = {
            name: "whole input" if self.places is None else f"place {_listed(at[0].tolist())}" for name, at in found.items()
        }
        return {spec: joined_text(spec, texts) for spec in in_order(positions, found)}

    def show(self, tokenizer: Any, positions: Sequence[str]) -> str:
        """The shapes and dtypes of what the network is given, and the places of the positions."""
        rows = [f"{n or 'input'}: {str(t.dtype).removeprefix('torch.')} {tuple(t.shape[1:])}" for n, t in self.tensors.items()]
        where = [f"  {spec}  {at}" for spec, at in self.at(tokenizer, positions).items()]
        return "\n".join([*rows, "", *where])


def _listed(places: Sequence[int]) -> str:
    """Places, several by the first and the last."""
    return str(places[0]) if len(places) == 1 else f"{places[0]} to {places[-1]}"


def _identities(tensors: Mapping[str, Tensor]) -> Indices:
    """A hash of each row's numbers; 0 and −0 are one number."""
    rows = [(tensors[name] + 0).reshape(len(tensors[name]), -1).contiguous().view(torch.uint8) for name in sorted(tensors)]
    return hashed(b"".join(row.numpy().tobytes() for row in each) for each in zip(*rows, strict=True))
