"""Positions: named places in a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from das.errors import DasError, shown

FIELD = re.compile(r"\w+(?:\[[^\[\]]+\])*")
"""A variable's name, and which of its values: `pair[0]`."""


@dataclass(frozen=True)
class Position:
    """A named place in a prompt, parsed from `amount.last`, `amount+1`, `last-6` or `amount` (the whole span).

    `last` and `first` are the prompt's own ends, `last` its text's last token: where the tokenizer closes it with `[SEP]`
    or `</s>`, these are `last+1` and so on. Any other name is a field. An offset counts tokens from the span's end
    (`+`) or from its start (`-`), or from the end that is named.
    """

    name: str
    end: str | None
    offset: int

    @classmethod
    def parse(cls, text: str) -> Position:
        if not isinstance(text, str):
            raise DasError(f"position {shown(text)} cannot be read: write amount.last, amount+1, last-6 or amount")
        match = re.fullmatch(rf"(?!\d)({FIELD.pattern})(?:\.(first|last))?([+-]\d{{1,6}})?", text.replace(" ", ""))
        if match is None:
            raise DasError(f"position {text!r} cannot be read: write amount.last, amount+1, last-6 or amount")
        name, end, offset = match[1], match[2], int(match[3] or 0)
        if name in ("first", "last"):
            if end:
                raise DasError(f"position {text!r}: {name} is a single token and has no {end}")
            return cls("", name, offset)
        return cls(name, end or ("last" if offset > 0 else "first" if offset < 0 else None), offset)


MOST_IN_RANGE = 10_000
"""Positions that one range may stand for."""


def expand_positions(specs: Iterable[str]) -> list[str]:
    """Positions with ranges written out: `last-2..last` is `last-2`, `last-1`, `last`."""
    names: list[str] = []
    if isinstance(specs, str) or not isinstance(specs, Iterable):
        raise DasError(f"positions are {shown(specs)}: expected a list, such as [amount.last, last]")
    for spec in specs:
        first, dots, final = spec.replace(" ", "").partition("..") if isinstance(spec, str) else (spec, "", "")
        if not dots:
            Position.parse(first)
            names.append(first)
            continue
        a, b = Position.parse(first), Position.parse(final)
        if (a.name, a.end) != (b.name, b.end) or a.end is None or not 0 <= b.offset - a.offset < MOST_IN_RANGE:
            raise DasError(f"range {spec!r}: expected two offsets from the same place, such as last-6..last")
        anchor = f"{a.name}.{a.end}" if a.name else a.end
        names += [anchor + (f"{i:+d}" if i else "") for i in range(a.offset, b.offset + 1)]
    return list(dict.fromkeys(names))
