"""Monitor: the page of texts whose tokens are coloured (see `das.draw.strips`). Nothing runs on it and nothing comes from
elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from das.draw.page.assemble import shipped
from das.draw.strips import Mark, Scale, Strip

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
"""


def page(strips: Sequence[Strip], scale: Scale, title: str) -> str:
    """HTML that needs nothing else."""
    styles = "".join(shipped(name) for name in ("palette.css", "monitor.css"))
    head = f"{HEAD}<title>{escape(title)}</title>\n<style>{styles}</style>\n</head>"
    return f"{head}\n<body>\n{_body(strips, scale, title)}\n</body>\n</html>\n"


def _body(strips: Sequence[Strip], scale: Scale, title: str) -> str:
    parts = [f"<h1>{escape(title)}</h1>", _legend(scale), *map(_strip, strips), _numbers(strips)]
    return f'<main class="das-monitor">{"".join(parts)}</main>'


def _legend(scale: Scale) -> str:
    ends = f"<span>− {escape(scale.below)}</span><span>+ {escape(scale.above)}</span>"
    lines = "underlined from 1 on, dotted below 0; point at a token to read its value"
    return f'<div class="scale"><div class="ramp"></div>{ends}<p>{escape(scale.unit)}; {lines}</p></div>'


def _strip(strip: Strip) -> str:
    label = f"<h2>{escape(strip.label)}</h2>" if strip.label else ""
    return f'{label}<p class="strip">{"".join(map(_token, strip.marks))}</p>'


def _token(mark: Mark) -> str:
    names = [mark.side, *(["lined"] if mark.lined else []), *(["quiet"] if mark.quiet else [])]
    kind = f' class="{" ".join(filter(None, names))}"' if any(names) else ""
    token = f'<span{kind} style="--s:{mark.share:.3f}" data-about="{escape(mark.about)}">{escape(mark.shown)}</span>'
    return token + mark.breaks * "\n"


def _numbers(strips: Sequence[Strip]) -> str:
    """The values as a table, for whoever does not point."""
    rows = "".join(
        f"<tr><td>{escape(strip.label)}</td><td>{number}</td><td>{escape(mark.shown)}</td><td>{mark.value:+.2f}</td></tr>"
        for strip in strips
        for number, mark in enumerate(strip.marks)
    )
    head = "<tr><th></th><th>number</th><th>token</th><th>reading</th></tr>"
    return f"<details><summary>As numbers</summary><table>{head}{rows}</table></details>"
