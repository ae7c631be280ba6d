"""Strips: texts whose tokens are coloured by a number, as a picture and as a page draw them.

Orange is above 0 and blue below it (Okabe and Ito's vermillion and blue, told apart by all kinds of colour vision); from 1 on
the token is underlined, dotted below 0, so that colour is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FULL = 3.0
"""Where colours end, in units of the scale."""

LINED = 1.0
"""From where on a token is underlined."""

PART = "·"
"""In place of a token that is but a further byte of a character."""

MARKS = {"\n": "↵", "\r": "␍", "\t": "→"}
"""What is shown of characters that would not be seen."""


@dataclass(frozen=True)
class Mark:
    """A token in a strip. shown: its characters, visible; breaks: how many lines end in it; value: by which it is coloured;
    about: what is told of it when it is pointed at; quiet: whether it stands outside the text."""

    shown: str
    breaks: int
    value: float
    about: str
    quiet: bool = False

    @property
    def share(self) -> float:
        """Of the full colour, from 0 to 1."""
        return min(1.0, abs(self.value) / FULL)

    @property
    def side(self) -> str:
        """`plus`, `minus` or neither."""
        return "plus" if self.value > 0 else "minus" if self.value < 0 else ""

    @property
    def lined(self) -> bool:
        return abs(self.value) >= LINED


@dataclass(frozen=True)
class Strip:
    """A text, once. label: what its values are of, such as a layer; empty where that is plain."""

    label: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Scale:
    """What the colours mean. ends: what lies below 0 and above it; unit: what 0 and 1 are."""

    below: str
    above: str
    unit: str


def visible(text: str) -> str:
    """With marks in place of characters that would not be seen."""
    return "".join(MARKS.get(character, character if character.isprintable() else "�") for character in text)
