"""Captures: the prompts of a data set as the network saw them, each run once and kept while there is room."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.interchange.capture import Capture
from das.interchange.engine import Engine
from das.network.site import Spot
from das.task.answers import Answers, OneToken
from das.task.rendered import Indices, Prompts

AT_ONCE = 128
"""Prompts that are run through the network together."""

NONE: Indices = np.zeros(0, np.int64)


class Captures:
    """What the network made of the prompts, at given spots, for bases (ready to be resumed) and for sources.

    first: the column from which vectors are wanted. room: bytes to keep captures in; what finds no place is run anew
    whenever it is asked for. answers: how answers are read. used: the prompts that will be asked for, as bases and as sources,
    where that is known. said: what the network itself answered to each prompt that was a base.

    Where all that will be asked for finds room, prompts are run in blocks that are the same however they are asked for: what a
    prompt gives, to the last bit, does not go by when and beside which others it was wanted.
    """

    def __init__(
        self, engine: Engine, prompts: Prompts, spots: Collection[Spot], first: int, room: float = 0.0,
        answers: Answers | None = None, used: tuple[Indices, Indices] = (NONE, NONE),
    ) -> None:  # fmt: skip
        self.prompts, self.said, self._engine = prompts, Said(len(prompts), answers or OneToken()), engine
        self.spots, self.first = frozenset(spots), first
        self._room = _Room(room)
        shelf = partial(_Shelf, engine, prompts, spots, first, room=self._room, said=self.said)
        self._shelves = {resumable: shelf(resumable=resumable, used=used[not resumable]) for resumable in (True, False)}

    def serve(self, prompts: Prompts, spots: Collection[Spot], first: int) -> bool:
        """Whether these are of the same prompts, and hold what is wanted of them."""
        return prompts is self.prompts and self.spots.issuperset(spots) and self.first <= first

    def bases(self, rows: Indices) -> Capture:
        """The captures of prompts that are to be resumed, in the order of `rows`, which may repeat."""
        return self._shelves[True].take(rows)

    def sources(self, rows: Indices) -> Capture:
        """Their vectors alone; nothing above the deepest spot was run."""
        return self._shelves[False].take(rows)

    def clean(self, rows: Indices) -> Tensor:
        """What the network itself answers, in the order of `rows`, which may repeat; never kept: logits are large. (rows,
        vocabulary), or (rows, steps, vocabulary)."""
        each, place = np.unique(rows, return_inverse=True)
        parts = [self._engine.clean(self.prompts.take(each[i : i + AT_ONCE])) for i in range(0, len(each), AT_ONCE)]
        return torch.cat(parts)[torch.from_numpy(place)]


class Said:
    """What a network itself answers to prompts, as far as it has been asked: the likeliest token, or with answers of several
    tokens that of each step, or the numbers that it gives."""

    def __init__(self, prompts: int, answers: Answers) -> None:
        self.known, self._answers = np.zeros(prompts, bool), answers
        self.each: NDArray[Any] = np.full(prompts, -1)

    def note(self, rows: Indices, logits: Tensor) -> None:
        """Takes down the answers to some prompts."""
        found = self._answers.said(logits).cpu().numpy()
        if self.each.shape[1:] != found.shape[1:] or self.each.dtype != found.dtype:
            self.each = np.full((len(self.known), *found.shape[1:]), -1, found.dtype)
        self.each[rows], self.known[rows] = found, True


class _Room:
    """Bytes that are left."""

    def __init__(self, size: float) -> None:
        self.left = size

    def take(self, each: int, wanted: int) -> int:
        """How many of `wanted` things of `each` bytes there is room for; it is taken."""
        count = min(wanted, int(self.left // max(1, each)))
        self.left -= count * each
        return count


class _Shelf:
    """Captures of one kind, a slot per prompt, in tensors that grow by blocks."""

    def __init__(
        self, engine: Engine, prompts: Prompts, spots: Collection[Spot], first: int, room: _Room, said: Said,
        resumable: bool, used: Indices,
    ) -> None:  # fmt: skip
        self.engine, self.prompts, self.spots, self.first = engine, prompts, spots, first
        self.resumable, self.room, self.said = resumable, room, said
        self.blocks = [used[i : i + AT_ONCE] for i in range(0, len(used), AT_ONCE)] if room.left else []
        self.of_block = np.full(len(prompts), -1)
        self.of_block[used] = np.arange(len(used)) // AT_ONCE
        self.block = np.full(len(prompts), -1)
        self.slot = np.full(len(prompts), -1)
        self.kept: list[Capture] = []

    def take(self, rows: Indices) -> Capture:
        """Runs what is not kept, keeps it if there is room, and gathers all rows in order."""
        self._fill(rows)
        missing = np.unique(rows[self.block[rows] < 0])
        fresh = [self._run(missing[i : i + AT_ONCE]) for i in range(0, len(missing), AT_ONCE)]
        if len(fresh) == 1 and np.array_equal(missing, rows):
            self._keep(missing, fresh[0])
            return fresh[0]
        block, slot = self.block.copy(), self.slot.copy()
        for i, start in enumerate(range(0, len(missing), AT_ONCE)):
            some = missing[start : start + AT_ONCE]
            block[some], slot[some] = len(self.kept) + i, np.arange(len(some))
        whole = _gather([*self.kept, *fresh], block[rows], slot[rows], self.prompts.take(rows))
        for i, capture in enumerate(fresh):
            self._keep(missing[i * AT_ONCE : (i + 1) * AT_ONCE], capture)
        return whole

    def _fill(self, rows: Indices) -> None:
        """Runs the blocks of rows that are not kept, as long as all blocks find room."""
        for block in np.unique(self.of_block[rows[self.block[rows] < 0]]) if self.blocks else ():
            if block < 0:
                continue
            capture = self._run(self.blocks[block])
            if not self.kept and _size(capture) * len(self.blocks) > self.room.left:
                self.blocks = []
                return
            self._keep(self.blocks[block], capture)

    def _run(self, rows: Indices) -> Capture:
        capture = self.engine.capture(self.prompts.take(rows), self.spots, self.resumable, self.first)
        if capture.logits is not None:
            self.said.note(rows, capture.logits)
        return replace(capture, logits=None)

    def _keep(self, rows: Indices, capture: Capture) -> None:
        n = self.room.take(_size(capture) // len(rows), len(rows))
        if n:
            self.block[rows[:n]], self.slot[rows[:n]] = len(self.kept), np.arange(n)
            self.kept.append(capture if n == len(rows) else _pick([capture], [(None, np.arange(n))], n, capture.prompts))


def _tensors(capture: Capture) -> dict[Any, Tensor]:
    """Everything that has a row per prompt."""
    keys = {(module, i): pair[i] for module, pair in capture.keys.items() for i in (0, 1)}
    return {"places": capture.places, **capture.vectors, **capture.inputs, **keys}


def _size(capture: Capture) -> int:
    return sum(t.numel() * t.element_size() for t in _tensors(capture).values())


def _gather(captures: list[Capture], block: Indices, slot: Indices, prompts: Prompts) -> Capture:
    """Indices from several captures, in order: row i is row `slot[i]` of capture `block[i]`."""
    used = np.unique(block)
    where = [(np.flatnonzero(block == b), slot[block == b]) for b in used]
    return _pick([captures[b] for b in used], where, len(block), prompts)


def _pick(captures: Sequence[Capture], where: Sequence[tuple[Indices | None, Indices]], n: int, prompts: Prompts) -> Capture:
    parts = [_tensors(capture) for capture in captures]
    index = [(None if to is None else torch.from_numpy(to), torch.from_numpy(at)) for to, at in where]
    done = {}
    for key, like in parts[0].items():
        if len(parts) == 1:
            done[key] = like[index[0][1].to(like.device)]
            continue
        done[key] = like.new_empty(n, *like.shape[1:])
        for part, (to, at) in zip(parts, index, strict=True):
            done[key][to] = part[key][at.to(like.device)]
    one = captures[0]
    keys = {module: (done[module, 0], done[module, 1]) for module in one.keys}
    vectors, inputs = {s: done[s] for s in one.vectors}, {e: done[e] for e in one.inputs}
    return replace(one, prompts=prompts, places=done["places"], vectors=vectors, inputs=inputs, keys=keys)
