"""Encoded: prompts as tokens, with the columns of named positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from das.errors import DasError, unknown
from das.task.answers import closing
from das.task.positions import Position
from das.task.rendered import Indices, Rendered
from das.task.tokenizer import Tokenizer


@dataclass
class Encoded:
    """Prompts as token ids, left-padded to one length, with the columns of the named positions.

    ids: (rows, length); lengths: (rows,), tokens that are not padding, at the right.
    positions: name → (rows, tokens of the span), columns of `ids`.
    """

    ids: Indices
    lengths: Indices
    positions: dict[str, Indices] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Any) -> Encoded:
        return Encoded(self.ids[rows], self.lengths[rows], {name: at[rows] for name, at in self.positions.items()})

    def padded(self, length: int, pad: int = 0) -> Encoded:
        """The same prompts, left-padded to `length` columns."""
        extra = length - self.ids.shape[1]
        ids = np.pad(self.ids, ((0, 0), (extra, 0)), constant_values=pad)
        return Encoded(ids, self.lengths, {name: at + extra for name, at in self.positions.items()})

    @staticmethod
    def concat(parts: Sequence[Encoded]) -> Encoded:
        """Several batches one below another; only the positions that all have are kept."""
        length = max(part.ids.shape[1] for part in parts)
        parts = [part.padded(length) for part in parts]
        shared = [name for name in parts[0].positions if all(name in part.positions for part in parts)]
        return Encoded(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            {name: np.concatenate([part.positions[name] for part in parts]) for name in shared},
        )

    def count(self, token: int | None) -> float:
        """The share of a token among those that are not padding."""
        real = np.arange(self.ids.shape[1]) >= (self.ids.shape[1] - self.lengths)[:, None]
        return float((self.ids[real] == token).mean())

    def common_prefix(self) -> int:
        """How many first tokens all prompts share."""
        shortest = int(self.lengths.min())
        start = self.ids.shape[1] - self.lengths
        heads = np.stack([self.ids[row, s : s + shortest] for row, s in enumerate(start)])
        differs = (heads != heads[0]).any(0)
        return int(np.argmax(differs)) if differs.any() else shortest


def encode(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str] = ()) -> Encoded:
    """Tokenizes and resolves each named position per row through the tokenizer's character offsets.

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
    for spec in positions:
        encoded.positions[spec] = _resolve(Position.parse(spec), spec, offsets, lengths, rendered)
    return encoded


def check_fields(rendered: Rendered, tokenizer: Tokenizer) -> None:
    """DasError where what a field writes has no token: the network would not read it. A field may well write nothing."""

    def written(spans: Indices) -> list[bool]:
        return [bool(text[a:b].strip()) for text, (a, b) in zip(rendered.texts, spans, strict=True)]

    where = {name: written(spans) for name, spans in rendered.spans.items()}
    encode(rendered, tokenizer, [f"{name}.first" for name, there in where.items() if all(there)])
    for name, there in where.items():
        if any(there) and not all(there):
            encode(rendered.take(np.flatnonzero(there)), tokenizer, [f"{name}.first"])


def _resolve(at: Position, spec: str, offsets: Indices, lengths: Indices, rendered: Rendered) -> Indices:
    width = offsets.shape[1]
    start = width - lengths
    if at.name == "":
        first, last = start, width - 1 - closing(offsets)
    elif at.name in rendered.spans:
        first, last = _tokens_of(at.name, offsets, rendered)
    else:
        raise unknown(f"field in position {spec!r}:", at.name, [*rendered.spans, "first", "last"])
    if at.end is None:
        return _whole(spec, first, last)
    column = (first if at.end == "first" else last) + at.offset
    if (bad := (column < start) | (column >= width)).any():
        row = int(np.argmax(bad))
        raise DasError(f"position {spec!r} lies outside the prompt of {lengths[row]} tokens: {rendered.texts[row]!r}")
    at_column: Indices = column[:, None]
    return at_column


def _tokens_of(name: str, offsets: Indices, rendered: Rendered) -> tuple[Indices, Indices]:
    """First and last column of the tokens that overlap the field's characters."""
    span = rendered.spans[name]
    inside = (offsets[..., 0] < span[:, 1:]) & (offsets[..., 1] > span[:, :1]) & (span[:, :1] < span[:, 1:])
    if (gone := ~inside.any(1)).any():
        row = int(np.argmax(gone))
        raise DasError(f"field {name!r} vanishes: it has no token in {rendered.texts[row]!r}")
    return inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)


def _whole(spec: str, first: Indices, last: Indices) -> Indices:
    counts = np.unique(last - first + 1)
    if len(counts) > 1:
        raise DasError(
            f"position {spec!r} covers {counts.min()} to {counts.max()} tokens: choose one, such as {spec}.first or {spec}.last"
        )
    return first[:, None] + np.arange(counts[0])


def coverage(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, float]:
    """Position → the share of the prompts in which it exists; of a whole span, with its commonest number of tokens."""
    return {spec: _covered(rendered, tokenizer, spec) for spec in positions}


def _covered(rendered: Rendered, tokenizer: Tokenizer, spec: str) -> float:
    try:
        encode(rendered, tokenizer, [spec])
        return 1.0
    except DasError:
        sizes: list[int] = []
        for row in range(len(rendered.texts)):
            try:
                sizes.append(encode(rendered.take(row), tokenizer, [spec]).positions[spec].shape[1])
            except DasError:
                sizes.append(0)
        return max(np.bincount(sizes)[1:], default=0) / len(sizes)


def tokens_at(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, str]:
    """Position → the text of its token(s) in the first prompt, in the order of the prompt."""
    one = rendered.take(0)
    encoded = encode(one, tokenizer, positions)
    offsets = tokenizer(one.texts, return_offsets_mapping=True)["offset_mapping"][0]
    order = sorted(encoded.positions.items(), key=lambda item: tuple(item[1][0]))
    return {name: one.texts[0][offsets[at[0, 0]][0] : offsets[at[0, -1]][1]] for name, at in order}


def show(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str], row: int = 0) -> str:
    """One prompt with its chosen tokens in ⟦brackets⟧, and below it each position with its token."""
    one = rendered.take(row)
    encoded = encode(one, tokenizer, positions)
    offsets = tokenizer(one.texts, return_offsets_mapping=True)["offset_mapping"][0]
    chosen = {int(column) for at in encoded.positions.values() for column in at[0]}
    text, end = "", 0
    for column, (a, b) in enumerate(offsets):
        piece = one.texts[0][max(a, end) : b]
        text += one.texts[0][end:a] + (f"⟦{piece}⟧" if column in chosen and piece else piece)
        end = max(b, end)
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids[0].tolist())
    width = max((len(name) for name in positions), default=0)
    lines = [f"  {name:<{width}}  {' '.join(repr(tokens[c]) for c in at[0])}" for name, at in encoded.positions.items()]
    return "\n".join([text, "", *lines])
