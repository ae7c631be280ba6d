"""Way: what steering does, how much of it, and where, as a person says it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from das.errors import DasError, shown, unknown
from das.ground.checks import check_known, number, whole
from das.use.own_pairs import Pointed

NEEDS = {
    "add": ("alpha or spreads",),
    "piecewise": ("alpha or spreads",),
    "project_out": (),
    "interchange": ("source",),
    "contrast": ("plus", "minus"),
}
"""Operator → what has to be said of it."""

HOW = {"alpha or spreads": ", one of them: a length, or natural spreads, of which 2 are much"}
"""How it is said, where that is not plain."""

ALL = "all"
MOST_NEW = 100_000


@dataclass(frozen=True)
class Way:
    """See `das.use.steer.steer`."""

    operator: str = "add"
    alpha: float | None = None
    spreads: float | None = None
    variable: Any = None
    layers: Any = None
    position: Pointed = None
    new: Any = None
    source: Any = None
    source_position: Pointed = None
    plus: Any = None
    minus: Any = None

    def __post_init__(self) -> None:
        if self.operator not in NEEDS:
            raise unknown("operator", str(self.operator), NEEDS)
        for name in ("alpha", "spreads"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, number(name, given))
        given = [name for name in ("alpha", "spreads", "source", "plus", "minus") if getattr(self, name) is not None]
        needs = NEEDS[self.operator]
        takes = {each for need in needs for each in need.split(" or ")} | ({"alpha"} if self.operator == "contrast" else set())
        if other := [name for name in given if name not in takes]:
            raise DasError(f"operator {self.operator} takes no {other[0]}; it takes {' and '.join(sorted(takes)) or 'nothing'}")
        if lacking := [need for need in needs if sum(name in given for name in need.split(" or ")) != 1]:
            raise DasError(f"operator {self.operator} needs {lacking[0]}{HOW.get(lacking[0], '')}")
        self.new_tokens  # noqa: B018  (what cannot be read is reported here)
        self.layers_of(0)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Way:
        """From the words of a call."""
        check_known(cls, given, "option")
        return cls(**given)

    @property
    def new_tokens(self) -> tuple[int, ...] | None:
        """The numbers of new tokens whose making is steered; None for all, as where no place of the prompt is named."""
        if self.new is None:
            return None if self.position is None else ()
        if self.new == ALL:
            return None
        each = self.new if isinstance(self.new, Sequence) and not isinstance(self.new, str) else [self.new]
        return tuple(whole("new", one, 0, MOST_NEW) for one in each)

    def layers_of(self, own: int) -> list[int]:
        """The layers that are named; by default the alignment's own."""
        return layers_of(self.layers, own)


def layers_of(given: Any, own: int) -> list[int]:
    """The layers that are named, as a number, a list, or a band `3..6`; by default one's own."""
    if given is None:
        return [own]
    if isinstance(given, str) and (band := re.fullmatch(r"\s*(\d{1,6})\s*\.\.\s*(\d{1,6})\s*", given)):
        first, last = map(int, band.groups())
        if last < first:
            raise DasError(f"layers {given!r}: a band goes from the lower layer to the higher")
        return list(range(first, last + 1))
    each = [given] if isinstance(given, int | str) else given
    if not isinstance(each, Sequence) or not each:
        raise DasError(f"layers are {shown(given)}: expected a number, a list of numbers, or a band such as 3..6")
    return list(dict.fromkeys(whole("layers", _number(one), 0, 10**6) for one in each))


def _number(given: Any) -> Any:
    return int(given) if isinstance(given, str) and given.isdecimal() else given
