"""Text for the console, for pictures and for notebooks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from html import escape


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def short(share: float | None) -> str:
    """A share with two digits and no more: `.80`, `1.0`; a dash for what is not there."""
    if share is None:
        return "–"
    return f"{share:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1) if share < 0.995 else "1.0"


def two(value: float | None) -> str:
    """With two digits; a dash for what is not there."""
    return "–" if value is None or value != value else f"{value:.2f}"


def spread(values: Iterable[float]) -> str:
    """From the least to the greatest, leaving out what is not defined."""
    known = [value for value in values if value == value]
    return f"{two(min(known))} to {two(max(known))}" if known else "–"


def count(n: int, things: str) -> str:
    """
    >>> count(1, "columns"), count(1, "entries"), count(3, "columns")
    ('1 column', '1 entry', '3 columns')
    """
    return f"{n} {things}" if n != 1 else f"1 {re.sub('(ie)?s$', lambda end: 'y' if end[1] else '', things)}"


def plain(text: str) -> str:
    """For a picture: dollar signs kept from TeX, which is what makes `_` and `^` special as well."""
    return text.replace("$", r"\$")


def fitted(text: str, inches: float, points: float, lines: int | None = None) -> str:
    """For a picture: broken into lines that fit into so many inches in a font of so many points; at most `lines` of them."""
    return plain(textwrap.fill(text, max(12, int(130 * inches / points)), max_lines=lines, placeholder=" …"))


def html_table(rows: Iterable[Sequence[object]], head: Sequence[object] = (), caption: str = "") -> str:
    """For a notebook: a small table, escaped. head: the columns' names; without any, the first column names the rows."""
    lines = [_html_row(row, "td" if head else "th", "td") for row in rows]
    top = [f"<caption>{escape(caption)}</caption>"] if caption else []
    return "".join(["<table>", *top, *([_html_row(head, "th", "th")] if head else []), *lines, "</table>"])


def html_frame(title: str, page: str, height: int, rights: str = "") -> str:
    """For a notebook: a whole page in a frame, which has no more rights than these. height: in pixels."""
    style = "width:100%;border:1px solid #ddd;border-radius:8px"
    return f'<iframe title="{title}" sandbox="{rights}" style="{style}" height="{height}" srcdoc="{escape(page)}"></iframe>'


def _html_row(row: Sequence[object], first: str, others: str) -> str:
    tags = [first] + [others] * (len(row) - 1)
    texts = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row]
    cells = [f"<{tag} style='text-align:left'>{escape(text)}</{tag}>" for tag, text in zip(tags, texts, strict=True)]
    return f"<tr>{''.join(cells)}</tr>"
