"""Marked: a text of a user's, and the places in it that have a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from das.errors import DasError, shown
from das.task.rendered import Indices

Span = tuple[int, int]

NOWHERE = 2**31
"""The number of a token that no prompt has."""


@dataclass(frozen=True)
class Marked:
    """A text as the value of a prompt's field. It is written as it stands; its places are positions by their names.

    spans: name → its characters, from start to before end. tokens: name → the number of a token of the whole prompt, from 0, or
    from −1 backwards; what stands around the text, as under a shift, takes these away.
    """

    text: str
    spans: tuple[tuple[str, Span], ...] = ()
    tokens: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(self.text, spec)


def marks(
    texts: Sequence[str], spans: Mapping[str, Indices], values: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, Indices], dict[str, Indices]]:
    """The spans of fields in written texts, with those of the places in their values; and places by the number of a token, far
    outside where a row has none. values: field → what it writes in each row."""
    places, tokens = dict(spans), dict[str, Indices]()
    for name, column in values.items():
        for row, value in enumerate(column):
            if not isinstance(value, Marked):
                break
            if (start := spans[name][row, 0]) < 0:
                continue
            for place, (a, b) in value.spans:
                places.setdefault(place, np.full((len(texts), 2), -1))[row] = start + a, start + b
            for place, at in value.tokens if value.text == texts[row] else ():
                tokens.setdefault(place, np.full(len(texts), NOWHERE))[row] = at
    return places, tokens


def marked(text: str, places: Mapping[str, Any], where: str) -> Marked:
    """A text with places, each given as a piece of the text, as (start, end) characters, or as the number of a token. DasError,
    that says `where`, for what is none of these, or no place in this text."""
    spans, tokens = [], []
    for name, given in places.items():
        if isinstance(given, int) and not isinstance(given, bool):
            tokens.append((name, given))
        else:
            spans.append((name, _span(text, name, given, where)))
    return Marked(text, tuple(spans), tuple(tokens))


def _span(text: str, name: str, given: Any, where: str) -> Span:
    if isinstance(given, str) and given:
        return only(text, given, f"{where}: {name} is {given!r}, which")
    if isinstance(given, Sequence) and len(given) == 2 and all(isinstance(at, int) for at in given):
        start, end = given
        if not 0 <= start < end <= len(text):
            raise DasError(f"{where}: {name} is {start} to {end}, but the text has {len(text)} characters: {text!r}")
        return start, end
    raise DasError(
        f"{where}: {name} is {shown(given)}: expected a piece of the text, two numbers (start and end of its characters), "
        "or the number of a token"
    )


def only(text: str, piece: str, what: str) -> Span:
    """Where a piece of a text is, as whole words; DasError, that says `what`, unless it is there exactly once."""
    found = list(_occurrences(text, piece))
    if len(found) != 1:
        often = f"is there {len(found)} times" if found else "is not there"
        raise DasError(f"{what} {often} in {text!r}: expected a piece that is there once, or start and end of its characters")
    return found[0]


def _occurrences(text: str, piece: str) -> Iterator[Span]:
    """Those that neither begin nor end inside a word."""
    start = text.find(piece)
    while start >= 0:
        end = start + len(piece)
        if not (_inside(text[start - 1 : start], piece[0]) or _inside(piece[-1], text[end : end + 1])):
            yield start, end
        start = text.find(piece, start + 1)


def _inside(left: str, right: str) -> bool:
    return left.isalnum() and right.isalnum()
