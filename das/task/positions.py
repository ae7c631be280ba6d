"""Positions: named places in a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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


FROM = "<-"
"""Between a base's place and the source's whose vector it takes."""


def joined_positions(text: str) -> list[tuple[str, str]]:
    """The single positions that a text joins by `+`, each as (the base's, the source's): `amount.last<-last` takes of the
    source what it has elsewhere. An offset is a number, and what is joined begins with no digit: `amount+1+last` is two."""
    entries = (entry.partition(FROM) for entry in re.split(r"\+(?!\d)", text))
    return [(base, source if arrow else base) for base, arrow, source in entries]


def single_positions(specs: Iterable[str]) -> list[str]:
    """Every single position that is named, of bases or sources, each once."""
    return list(dict.fromkeys(name for spec in specs for pair in joined_positions(spec) for name in pair))


MOST_IN_RANGE = 10_000
"""Positions that one range may stand for."""


def expand_positions(specs: Iterable[str]) -> list[str]:
    """Positions with ranges written out: `last-2..last` is `last-2`, `last-1`, `last`. A range is not joined to another."""
    names: list[str] = []
    if isinstance(specs, str) or not isinstance(specs, Iterable):
        raise DasError(f"positions are {shown(specs)}: expected a list, such as [amount.last, last]")
    for spec in specs:
        first, dots, final = spec.replace(" ", "").partition("..") if isinstance(spec, str) else (spec, "", "")
        if not dots:
            for name in single_positions([first]) if isinstance(first, str) else [spec]:
                Position.parse(name or spec)
            names.append(first)
            continue
        a, b = Position.parse(first), Position.parse(final)
        if (a.name, a.end) != (b.name, b.end) or a.end is None or not 0 <= b.offset - a.offset < MOST_IN_RANGE:
            raise DasError(f"range {spec!r}: expected two offsets from the same place, such as last-6..last")
        anchor = f"{a.name}.{a.end}" if a.name else a.end
        names += [anchor + (f"{i:+d}" if i else "") for i in range(a.offset, b.offset + 1)]
    return list(dict.fromkeys(names))


def in_order(specs: Iterable[str], columns: Mapping[str, Any]) -> list[str]:
    """Positions in the order of the first prompt, joined ones last. columns: single position → (rows, places)."""

    def place(spec: str) -> tuple[int, list[tuple[int, ...]]]:
        pairs = joined_positions(spec)
        return len(pairs), [tuple(columns[name][0]) for pair in pairs for name in pair]

    return sorted(specs, key=place)


def joined_text(spec: str, texts: Mapping[str, str]) -> str:
    """What stands at a position, joined as it is. texts: of single positions."""
    pairs = joined_positions(spec)
    return " + ".join(texts[base] if base == source else f"{texts[base]} ← {texts[source]}" for base, source in pairs)
