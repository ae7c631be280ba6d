"""Readable: numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: float) -> str:
    """How many of something.

    >>> counted(312), counted(176_532), counted(18_293_112)
    ('312', '177 thousand', '18.3 million')
    """
    return _scaled(number, ((1e12, " trillion"), (1e9, " billion"), (1e6, " million"), (1e4, " thousand")), 1e3)


def operations(number: float) -> str:
    """Floating-point operations.

    >>> operations(5.3e13), operations(7.458922e17), operations(2e4)
    ('53 TFLOP', '746 PFLOP', '0.02 MFLOP')
    """
    scale = ((1e21, " ZFLOP"), (1e18, " EFLOP"), (1e15, " PFLOP"), (1e12, " TFLOP"), (1e9, " GFLOP"))
    return _scaled(number, scale) if number >= 1e9 else f"{_digits(number / 1e6)} MFLOP"


def duration(seconds: float) -> str:
    """How long something takes: two units at most.

    >>> [duration(each) for each in (0.4, 45, 200, 7800, 2 * 86400 + 3600 * 5)]
    ['under 1 s', '45 s', '3 min', '2 h 10 min', '2 d 5 h']
    """
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, left = divmod(minutes, 60)
    if hours < 10:
        return f"{hours} h {left} min" if left else f"{hours} h"
    hours = round(seconds / 3600)
    days, rest = divmod(hours, 24)
    if days < 2:
        return f"{hours} h"
    if days < 10:
        return f"{days} d {rest} h" if rest else f"{days} d"
    return f"{counted(round(seconds / 86400))} d"


def sized(size: float) -> str:
    """Bytes.

    >>> [sized(each) for each in (0, 144, 2048, 3 * 2**20, 2**31, 5 * 2**40)]
    ['0 B', '144 B', '2 KiB', '3 MiB', '2 GiB', '5 TiB']
    """
    return _scaled(size, ((2**40, " TiB"), (2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB")), after=" B")


def _scaled(number: float, scale: Sequence[tuple[float, str]], thousand: float | None = None, after: str = "") -> str:
    """In the largest unit that there is one of; a unit may begin at ten thousand and count thousands."""
    for size, name in scale:
        if number >= size:
            return f"{_digits(number / (thousand if thousand and name == ' thousand' else size))}{name}"
    return f"{number:,.0f}{after}"


def _digits(number: float) -> str:
    """Three digits, and never a power of ten."""
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"
