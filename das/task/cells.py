"""Cells: what stands in a table's cells, as the values that an input of a causal model has."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from das.causal.columns import Column, as_column, key
from das.errors import DasError, shown
from das.ground.rows import typed

Side = dict[str, list[Any]]
"""Of bases or of sources: input → its cells, None where one is empty."""


def give_type(x: str, sides: Iterable[tuple[Side, bool]], domain: Any) -> None:
    """Gives the cells of an input the type that fits all of them and its domain, if it has one. sides: each with whether its
    cells are the texts of a CSV file, which does not say what is a number.

    A CSV file writes several values as Python or JSON does, `('a', 1)` or `["a", 1]`; the others know lists, and no tuples.
    DasError for what is not several values where the domain's are.
    """
    sides = list(sides)
    drawn = None if domain is None else domain.sample(np.random.default_rng(0), 1)
    if drawn is not None and (several := _several(x, drawn)):
        for side, _ in sides:
            side[x] = [None if cell is None else several(cell) for cell in side[x]]
        return
    written = [side for side, texts in sides if texts]
    cells = list(dict.fromkeys(cell for side in written for cell in side[x]))
    found = dict(zip(cells, typed(cells), strict=True))
    if domain is None or not cells or domain.contains(as_column(list(found.values()))).all():
        for side in written:
            side[x] = [found[cell] for cell in side[x]]
    if drawn is not None and drawn.dtype.kind == "i":  # whole numbers beside empty cells are floats to some
        for side, _ in sides:
            side[x] = [int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in side[x]]


def _several(x: str, drawn: Column) -> Callable[[Any], Any] | None:
    """How a cell becomes what the input has, where that is a tuple or a vector; None where it is neither. drawn: a value."""
    if drawn.dtype == object and isinstance(drawn[0], tuple):
        return partial(_tuple, x)
    return partial(_vector, x, drawn.shape[1:]) if drawn.ndim > 1 else None


def _tuple(x: str, cell: Any) -> tuple[Any, ...]:
    found = key(_read(cell))
    if not isinstance(found, tuple):
        raise DasError(f"input {x!r} is {shown(cell)}: expected several values, such as ('a', 1), or in JSON a list")
    return found


def _vector(x: str, shape: tuple[int, ...], cell: Any) -> Column:
    try:
        found = np.asarray(_read(cell), float)
    except (ValueError, TypeError):
        found = np.zeros(())
    if found.shape != shape:
        raise DasError(f"input {x!r} is {shown(cell)}: expected numbers of shape {shape}, in a CSV file such as '[0.5, 1]'")
    return found


def _read(cell: Any) -> Any:
    """What a text of a CSV file says; the text where it is no Python and no JSON."""
    if not isinstance(cell, str):
        return cell
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell
