"""Encoded: prompts as tokens, with the columns of named positions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from das.errors import DasError, unknown
from das.task.answers import closing
from das.task.positions import Position, single_positions
from das.task.rendered import Indices, Prompts, hashed
from das.task.tokenizer import Tokenizer

if TYPE_CHECKING:
    from das.task.texts import Texts


@dataclass
class Encoded(Prompts):
    """Prompts as token ids, left-padded to one length, with the columns of the named positions.

    ids: (rows, length); lengths: (rows,), tokens that are not padding, at the right.
    positions: name → (rows, tokens of the span), columns of `ids`.
    """

    ids: Indices
    lengths: Indices
    positions: dict[str, Indices] = field(default_factory=dict)
    tail: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        return int(self.ids.shape[1])

    def identities(self) -> Indices:
        return of_tokens(row[self.width - n : self.width - self.tail] for row, n in zip(self.ids, self.lengths, strict=True))

    def take(self, rows: Any) -> Encoded:
        return Encoded(self.ids[rows], self.lengths[rows], {name: at[rows] for name, at in self.positions.items()}, self.tail)

    def forced(self, tokens: Indices) -> Encoded:
        tail = tokens.shape[1]
        return Encoded(np.concatenate([self.ids, tokens], 1), self.lengths + tail, self.positions, self.tail + tail)

    def asked(self) -> Encoded:
        width = self.ids.shape[1] - self.tail
        return Encoded(self.ids[:, :width], self.lengths - self.tail, self.positions)

    def padded(self, length: int, pad: int = 0) -> Encoded:
        """The same prompts, left-padded to `length` columns."""
        extra = length - self.ids.shape[1]
        ids = np.pad(self.ids, ((0, 0), (extra, 0)), constant_values=pad)
        return Encoded(ids, self.lengths, {name: at + extra for name, at in self.positions.items()}, self.tail)

    @classmethod
    def concat(cls, parts: Sequence[Encoded]) -> Encoded:
        """Several batches one below another. A shorter tail is filled up with any token: nothing is read behind it."""
        tail = max(part.tail for part in parts)
        parts = [part.forced(np.zeros((len(part), tail - part.tail), np.int64)) for part in parts]
        length = max(part.ids.shape[1] for part in parts)
        parts = [part.padded(length) for part in parts]
        shared = [name for name in parts[0].positions if all(name in part.positions for part in parts)]
        return Encoded(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            {name: np.concatenate([part.positions[name] for part in parts]) for name in shared},
            tail,
        )

    def prefix(self, most: int) -> Indices:
        start, n = self.width - int(self.lengths[0]), min(self.common_prefix(), int(self.lengths.min()) - self.steps)
        return self.ids[0, start : start + min(n, most)]

    def common_prefix(self) -> int:
        """How many first tokens all prompts share."""
        shortest = int(self.lengths.min())
        start = self.ids.shape[1] - self.lengths
        heads = np.stack([self.ids[row, s : s + shortest] for row, s in enumerate(start)])
        differs = (heads != heads[0]).any(0)
        return int(np.argmax(differs)) if differs.any() else shortest


def of_tokens(rows: Iterable[Indices]) -> Indices:
    """The identity of each row's prompt: a hash of its tokens."""
    return hashed(row.astype("<i8").tobytes() for row in rows)


def encode(rendered: Texts, tokenizer: Tokenizer, positions: Sequence[str] = ()) -> Encoded:
    """Tokenizes and resolves each named position, joined ones by themselves, per row through the tokenizer's character offsets.

    Raises DasError where a position does not exist, or where a whole span has a different number of tokens by row.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise DasError("the tokenizer gives no character offsets: load a fast tokenizer")
    batch = tokenizer(rendered.texts, return_offsets_mapping=True)
    lengths = np.array([len(row) for row in batch["input_ids"]], np.int64)
    width = int(lengths.max())
    ids = np.full((len(lengths), width), tokenizer.pad_token_id or 0, np.int64)
    offsets = np.zeros((len(lengths), width, 2), np.int64)
    for row, (tokens, spans) in enumerate(zip(batch["input_ids"], batch["offset_mapping"], strict=True)):
        ids[row, width - len(tokens) :] = tokens
        offsets[row, width - len(tokens) :] = spans
    encoded = Encoded(ids, lengths)
    for spec in single_positions(positions):
        encoded.positions[spec] = _resolve(Position.parse(spec), spec, offsets, lengths, rendered)
    return encoded


def _resolve(at: Position, spec: str, offsets: Indices, lengths: Indices, rendered: Texts) -> Indices:
    width = offsets.shape[1]
    start = width - lengths
    if at.name == "":
        first, last = start, width - 1 - closing(offsets)
    elif at.name in rendered.spans:
        first, last = _tokens_of(at.name, offsets, rendered)
    elif at.name in rendered.tokens:
        first = last = _numbered(rendered.tokens[at.name], start, width - closing(offsets))
    else:
        raise unknown(f"field in position {spec!r}:", at.name, [*rendered.spans, "first", "last"])
    if at.end is None and at.name in rendered.spans:
        return _whole(spec, first, last)
    column = (first if at.end == "first" else last) + at.offset
    if (bad := (column < start) | (column >= width)).any():
        row = int(np.argmax(bad))
        raise DasError(f"position {spec!r} lies outside the prompt of {lengths[row]} tokens: {rendered.texts[row]!r}")
    at_column: Indices = column[:, None]
    return at_column


def _numbered(numbers: Indices, start: Indices, end: Indices) -> Indices:
    """The columns of tokens by their numbers, those below 0 from the text's end."""
    columns: Indices = np.where(numbers < 0, end, start) + numbers
    return columns


def _tokens_of(name: str, offsets: Indices, rendered: Texts) -> tuple[Indices, Indices]:
    """First and last column of the tokens that overlap the field's characters."""
    span = rendered.spans[name]
    inside = (offsets[..., 0] < span[:, 1:]) & (offsets[..., 1] > span[:, :1]) & (span[:, :1] < span[:, 1:])
    if (gone := ~inside.any(1)).any():
        row = int(np.argmax(gone))
        if span[row, 0] < 0:
            raise DasError(f"there is no {name!r} in {rendered.texts[row]!r}: choose positions that every prompt has")
        raise DasError(f"field {name!r} vanishes: it has no token in {rendered.texts[row]!r}")
    return inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)


def _whole(spec: str, first: Indices, last: Indices) -> Indices:
    counts = np.unique(last - first + 1)
    if len(counts) > 1:
        raise DasError(
            f"position {spec!r} covers {counts.min()} to {counts.max()} tokens: choose one, such as {spec}.first or {spec}.last"
        )
    return first[:, None] + np.arange(counts[0])
