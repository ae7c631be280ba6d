"""Texts: settings as they are put in words, and where every field lies in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from das.errors import DasError, shown
from das.task.encoded import Encoded, encode, of_tokens
from das.task.positions import expand_positions, in_order, joined_positions, joined_text, single_positions
from das.task.rendered import Indices, Rendered
from das.task.tokenizer import Tokenizer


@dataclass(frozen=True)
class Texts(Rendered):
    """Texts and, for every field, its character span in each: `spans[field]` is (rows, 2), start and end, −1 where a text has
    no such field. tokens: places that are given as the number of a token in each, (rows,), from −1 backwards. templates: the
    number of the template that each is written by."""

    texts: list[str]
    spans: dict[str, Indices]
    tokens: dict[str, Indices] = field(default_factory=dict)
    templates: Sequence[int] = ()

    @property
    def names(self) -> list[str]:
        return self.texts

    @property
    def ways(self) -> list[int]:
        return [self.templates.index(number) for number in sorted(set(self.templates))] or [0]

    def take(self, rows: int | Indices) -> Texts:
        rows = np.atleast_1d(rows)
        spans, tokens = ({name: at[rows] for name, at in some.items()} for some in (self.spans, self.tokens))
        return Texts([self.texts[row] for row in rows], spans, tokens, [self.templates[row] for row in rows if self.templates])

    def encode(self, tokenizer: Tokenizer, positions: Sequence[str] = ()) -> Encoded:
        return encode(self, tokenizer, positions)

    def check(self, tokenizer: Tokenizer, positions: Sequence[str]) -> None:
        self._check_fields(tokenizer)
        encode(self, tokenizer, expand_positions(positions))
        self.check_read(tokenizer)

    def check_read(self, tokenizer: Tokenizer) -> None:
        """DasError where the tokenizer knows no token for some of the texts."""
        if unread := self._unread(tokenizer):
            tokens = sum(map(len, tokenizer(self.texts)["input_ids"]))
            raise DasError(
                f"{len(unread) / tokens:.0%} of the prompts' tokens are unknown to the tokenizer, such as "
                f"{shown(unread[0])}: the network cannot read them. Use other words, or another network (das fit-lm trains one "
                "on a task)"
            )

    def _unread(self, tokenizer: Tokenizer) -> list[str]:
        """The pieces of the texts in whose place there is the token for what is unknown. Some tokenizers begin every text with
        this token, or end it so: there it stands for none of the text."""
        found, unknown = tokenizer(self.texts, return_offsets_mapping=True), tokenizer.unk_token_id
        rows = zip(self.texts, found["input_ids"], found["offset_mapping"], strict=True)
        pieces = [text[a:b] for text, ids, at in rows for token, (a, b) in zip(ids, at, strict=True) if token == unknown]
        return [piece for piece in pieces if piece.strip() not in ("", tokenizer.unk_token)]

    def _check_fields(self, tokenizer: Tokenizer) -> None:
        """DasError where what a field writes has no token: the network would not read it. A field may well write nothing."""

        def written(spans: Indices) -> list[bool]:
            return [bool(text[a:b].strip()) for text, (a, b) in zip(self.texts, spans, strict=True)]

        where = {name: written(spans) for name, spans in self.spans.items()}
        encode(self, tokenizer, [f"{name}.first" for name, there in where.items() if all(there)])
        for name, there in where.items():
            if any(there) and not all(there):
                encode(self.take(np.flatnonzero(there)), tokenizer, [f"{name}.first"])

    def identities(self, tokenizer: Tokenizer) -> Indices:
        index = {text: row for row, text in enumerate(dict.fromkeys(self.texts))}
        found = of_tokens(np.array(ids, np.int64) for ids in tokenizer(list(index))["input_ids"])
        return found[[index[text] for text in self.texts]]

    def coverage(self, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, float]:
        try:
            encode(self, tokenizer, positions)
        except DasError:
            return {spec: self._covered(tokenizer, spec) for spec in positions}
        return dict.fromkeys(positions, 1.0)

    def _covered(self, tokenizer: Tokenizer, spec: str) -> float:
        try:
            encode(self, tokenizer, [spec])
            return 1.0
        except DasError:
            sizes: list[int] = []
            for row in range(len(self.texts)):
                try:
                    found = encode(self.take(row), tokenizer, [spec]).positions.values()
                    sizes.append(sum(at.shape[1] for at in found))
                except DasError:
                    sizes.append(0)
            return max(np.bincount(sizes)[1:], default=0) / len(sizes)

    def where(self, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
        found = encode(self.take(0), tokenizer, positions).positions
        offsets = tokenizer(self.texts[:1], return_offsets_mapping=True)["offset_mapping"][0]
        spans = {name: [(int(offsets[c][0]), int(offsets[c][1])) for c in at[0]] for name, at in found.items()}
        return {
            spec: [span for name, _ in joined_positions(spec) for span in spans[name]] for spec in in_order(positions, found)
        }

    def at(self, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, str]:
        spans = self.where(tokenizer, single_positions(positions))
        texts = {name: self.texts[0][at[0][0] : at[-1][1]] for name, at in spans.items()}
        return {spec: joined_text(spec, texts) for spec in self.where(tokenizer, positions)}

    def show(self, tokenizer: Tokenizer, positions: Sequence[str]) -> str:
        """With its chosen tokens in ⟦brackets⟧, and below it each position with its token."""
        one = self.take(0)
        encoded = encode(one, tokenizer, positions)
        offsets = tokenizer(one.texts, return_offsets_mapping=True)["offset_mapping"][0]
        chosen = {int(column) for at in encoded.positions.values() for column in at[0]}
        text, end = "", 0
        for column, (a, b) in enumerate(offsets):
            piece = one.texts[0][max(a, end) : b]
            text += one.texts[0][end:a] + (f"⟦{piece}⟧" if column in chosen and piece else piece)
            end = max(b, end)
        tokens = tokenizer.convert_ids_to_tokens(encoded.ids[0].tolist())
        width = max((len(name) for name in encoded.positions), default=0)
        lines = [f"  {name:<{width}}  {' '.join(repr(tokens[c]) for c in at[0])}" for name, at in encoded.positions.items()]
        return "\n".join([text, "", *lines])
