"""Text for the console and for pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def short(share: float) -> str:
    """A share with two digits and no more: `.80`, `1.0`."""
    return f"{share:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1) if share < 0.995 else "1.0"


def two(value: float | None) -> str:
    """With two digits; a dash for what is not there."""
    return "–" if value is None or value != value else f"{value:.2f}"


def spread(values: Iterable[float]) -> str:
    """From the least to the greatest, leaving out what is not defined."""
    known = [value for value in values if value == value]
    return f"{two(min(known))} to {two(max(known))}" if known else "–"


def plain(text: str) -> str:
    """For a picture: dollar signs kept from TeX, which is what makes `_` and `^` special as well."""
    return text.replace("$", r"\$")


def fitted(text: str, inches: float, points: float, lines: int | None = None) -> str:
    """For a picture: broken into lines that fit into so many inches in a font of so many points; at most `lines` of them."""
    return plain(textwrap.fill(text, max(12, int(130 * inches / points)), max_lines=lines, placeholder=" …"))
