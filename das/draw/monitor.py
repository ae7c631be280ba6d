"""Monitor: the picture of texts whose tokens are coloured (see `das.draw.strips`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

from das.draw.strips import FULL, Mark, Scale, Strip
from das.text import fitted, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS, MOST = 96, 160
"""Letters in a line; lines of a picture: a longer text is cut, the page has all of it."""

WIDTH, LINE, POINTS = 8.4, 0.25, 9.0
"""Inches of the picture and of a line; of a letter its size in points."""

INKS = LinearSegmentedColormap.from_list("blue to orange", ["#4d9cca", "#ffffff", "#e28e4d"])
"""Vermillion and blue of Okabe and Ito, light enough for black letters."""

FONT = "DejaVu Sans Mono"

Laid = tuple[int, int, str, Mark]
"""Line, letter in it, what is written there, and of which token it is."""


def figure(strips: Sequence[Strip], scale: Scale, title: str) -> Figure:
    """The texts, one below another, and what the colours mean."""
    laid, labels, lines = _laid(strips)
    drawn = Figure(figsize=(WIDTH, LINE * (lines + 6)))
    ax = drawn.add_axes((0.04, 0.0, 0.92, lines / (lines + 6)), xlim=(0, ACROSS), ylim=(lines, 0))
    ax.axis("off")
    for line, label in labels:
        ax.text(0, line + 0.5, plain(label), fontsize=POINTS - 1, color="#5d6167", va="center")
    for each in laid:
        _token(ax, *each)
    drawn.text(0.04, 1 - 0.6 / (lines + 6), fitted(title, WIDTH - 0.6, POINTS + 1), fontsize=POINTS + 1, va="top")
    _legend(drawn.add_axes((0.04, 1 - 3.6 / (lines + 6), 0.4, 0.5 / (lines + 6))), scale)
    return drawn


def _laid(strips: Sequence[Strip]) -> tuple[list[Laid], list[tuple[int, str]], int]:
    """Where everything is written, the labels with their lines, and how many lines there are."""
    laid, labels, line = list[Laid](), list[tuple[int, str]](), 0
    for strip in strips:
        if strip.label:
            labels.append((line, strip.label))
        line += bool(strip.label)
        for at, column, text, mark in _flow(strip.marks):
            laid.append((line + at, column, text, mark))
        line = max((each[0] for each in laid), default=line) + 2
    kept = [each for each in laid if each[0] < MOST]
    if len(kept) < len(laid):
        labels = [each for each in labels if each[0] < MOST] + [(MOST, f"… and {line - MOST} lines more: see the page")]
    return kept, labels, min(line, MOST + 1)


def _flow(marks: Sequence[Mark]) -> Iterator[Laid]:
    """Tokens one after another, broken into lines; one that does not fit stands in the next, a longer one in several."""
    line = column = 0
    for mark in marks:
        text = "".join(map(_drawable, mark.shown))
        if column and column + len(text) > ACROSS:
            line, column = line + 1, 0
        for start in range(0, len(text), ACROSS):
            part = text[start : start + ACROSS]
            if start:
                line, column = line + 1, 0
            yield line, column, part, mark
            column += len(part)
        if mark.breaks:
            line, column = line + mark.breaks, 0


def _token(ax: Axes, line: int, column: int, text: str, mark: Mark) -> None:
    ink = INKS(0.5 + max(-1.0, min(1.0, mark.value / FULL)) / 2)
    ax.add_patch(Rectangle((column, line + 0.08), len(text), 0.84, facecolor=ink, linewidth=0))
    if mark.lined:
        style = ":" if mark.value < 0 else "-"
        ax.plot([column + 0.1, column + len(text) - 0.1], [line + 0.9] * 2, style, color="black", linewidth=1)
    for place, letter in enumerate(text):  # each by itself: a font's advance is not quite a letter's share of the line
        ax.text(
            column + place + 0.5, line + 0.5, plain(letter), family=FONT, fontsize=POINTS, ha="center", va="center",
            color="#5d6167" if mark.quiet else "black",
        )  # fmt: skip


def _legend(ax: Axes, scale: Scale) -> None:
    ax.imshow(
        [[i / 100 for i in range(-100, 101)]], cmap=INKS, aspect="auto", extent=(-FULL, FULL, 0, 1), norm=Normalize(-1, 1)
    )
    ax.set_yticks([])
    ax.tick_params(labelsize=POINTS - 2)
    below, above = (fitted(text, 3.4, POINTS - 1, lines=1) for text in (scale.below, scale.above))
    ax.annotate(f"− {below}", (0, 1.3), xycoords="axes fraction", fontsize=POINTS - 1)
    ax.annotate(f"+ {above}", (1.06, 0.5), xycoords="axes fraction", fontsize=POINTS - 1, va="center")
    ax.annotate(
        fitted(scale.unit, 4, 7), (1.06, -0.4), xycoords="axes fraction", fontsize=POINTS - 2, va="top", color="#5d6167"
    )


@cache
def _drawable(letter: str) -> str:
    """The letter, or where the font has none a box in its place."""
    return letter if get_font(findfont(FontProperties(family=FONT))).get_char_index(ord(letter)) else "▯"
