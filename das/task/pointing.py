"""Pointing: a place in a text by a token's number or by a piece of the text, beside the names of positions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from das.errors import DasError, shown
from das.task.encoded import Encoded, encode
from das.task.positions import Position
from das.task.rendered import Indices
from das.task.texts import Texts
from das.task.tokenizer import Tokenizer

PIECE = "piece"
"""What the characters of a piece are called among a text's fields."""


@dataclass(frozen=True)
class Substring:
    """A piece of a text. token: which of its tokens, `first`, `last` or `all`; occurrence: which of several that are alike,
    from 0, or from the end with -1; by default there must be one alone."""

    text: str
    token: str = "all"
    occurrence: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise DasError(f"a piece of a text is {shown(self.text)}: expected characters that stand in it, not blanks alone")
        if self.token not in ("first", "last", "all"):
            raise DasError(f"the token of the piece {self.text!r} is {shown(self.token)}: expected first, last or all")
        if self.occurrence is not None and (isinstance(self.occurrence, bool) or not isinstance(self.occurrence, int)):
            raise DasError(f"occurrence of the piece {self.text!r} is {shown(self.occurrence)}: expected a whole number")

    def span(self, text: str) -> tuple[int, int]:
        """Where its characters, blanks around them aside, stand in a text. DasError where that is not plain."""
        piece = self.text.strip()
        found = [match.start() for match in re.finditer(f"(?={re.escape(self.text)})", text)]
        if not found:
            raise DasError(f"{self.text!r} does not stand in {shown(text)}")
        if self.occurrence is None and len(found) > 1:
            raise DasError(
                f"{self.text!r} stands {len(found)} times in {shown(text)}: say which, Substring(…, occurrence=0) to "
                f"{len(found) - 1}, or give more of the text"
            )
        which = self.occurrence or 0
        if not -len(found) <= which < len(found):
            raise DasError(f"{self.text!r} stands {len(found)} times in {shown(text)}: there is no occurrence {which}")
        start = found[which] + len(self.text) - len(self.text.lstrip())
        return start, start + len(piece)


Pointer = str | int | Substring | tuple["Pointer", ...]
"""A token's number, from 0 or from the end with -1, as the tokenizer gives them; the name of a position (`last-2`,
`amount.last`); any other text is a piece of the prompt; several in a tuple stand for a place of several tokens."""


def encode_at(rendered: Texts, tokenizer: Tokenizer, name: str, where: Pointer | list[Pointer]) -> Encoded:
    """Tokenizes, and has `positions[name]` where the pointer leads in each prompt. where: one for all, or a list with one for
    each. DasError where it leads nowhere, to several places, or to as many tokens in one prompt as not in another."""
    each = list(where) if isinstance(where, list) else [where] * len(rendered.texts)
    if len(each) != len(rendered.texts):
        raise DasError(f"there are {len(each)} positions for {len(rendered.texts)} prompts: give one, or one for each prompt")
    prompts, found = encode(rendered, tokenizer), dict[int, Indices]()
    for pointer in {repr(p): p for p in each}.values():
        rows = np.array([row for row, p in enumerate(each) if repr(p) == repr(pointer)])
        found |= zip(rows.tolist(), _numbers(rendered.take(rows), tokenizer, pointer), strict=True)
    counts = {len(numbers) for numbers in found.values()}
    if len(counts) > 1:
        raise DasError(f"the place {shown(where)} covers {min(counts)} to {max(counts)} tokens: point at one of them")
    numbers = np.stack([found[row] for row in range(len(each))])
    prompts.positions[name] = numbers + (prompts.ids.shape[1] - prompts.lengths)[:, None]
    return prompts


def numbers_of(prompts: Encoded, name: str) -> Indices:
    """A position's tokens by their numbers in each prompt, from 0, padding not counted. (rows, tokens)"""
    numbers: Indices = prompts.positions[name] - (prompts.ids.shape[1] - prompts.lengths)[:, None]
    return numbers


def _numbers(rendered: Texts, tokenizer: Tokenizer, pointer: Pointer) -> Sequence[Indices]:
    """The numbers of the tokens that a pointer leads to, for each prompt."""
    if isinstance(pointer, tuple):
        parts = [_numbers(rendered, tokenizer, each) for each in pointer]
        return [np.concatenate(numbers) for numbers in zip(*parts, strict=True)]
    if isinstance(pointer, int) and not isinstance(pointer, bool):
        lengths = encode(rendered, tokenizer).lengths.tolist()
        return [np.array([_numbered(pointer, n, text)]) for n, text in zip(lengths, rendered.texts, strict=True)]
    if isinstance(pointer, str) and names_position(pointer, rendered.spans):
        return list(numbers_of(encode(rendered, tokenizer, [pointer]), pointer))
    if not isinstance(pointer, str | Substring):
        raise DasError(f"a position is {shown(pointer)}: expected a token's number, a position's name or a piece of the text")
    return _of_piece(rendered, tokenizer, Substring(pointer) if isinstance(pointer, str) else pointer)


def _numbered(number: int, length: int, text: str) -> int:
    if not -length <= number < length:
        raise DasError(f"there is no token {number} in a prompt of {length} tokens: {shown(text)}")
    return number % length


def names_position(text: str, fields: Mapping[str, object]) -> bool:
    """Whether a text is the name of a position: one of the prompt's ends, or of one of the fields."""
    try:
        name = Position.parse(text).name
    except DasError:
        return False
    return name == "" or name in fields


def _of_piece(rendered: Texts, tokenizer: Tokenizer, piece: Substring) -> Sequence[Indices]:
    spans = {PIECE: np.array([piece.span(text) for text in rendered.texts], np.int64)}
    ends = [f"{PIECE}.first", f"{PIECE}.last"]
    prompts = encode(Texts(rendered.texts, spans), tokenizer, ends)
    first, last = (numbers_of(prompts, end)[:, 0] for end in ends)
    if piece.token != "all":
        return list((first if piece.token == "first" else last)[:, None])
    return [np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]
