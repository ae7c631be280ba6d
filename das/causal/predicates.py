"""Predicates: functions that users write, by the names of their parameters, and the truths that they give."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import DasError, shown

TRUTHS = "a column of true and false from whole numpy columns (use & | ~)"


def truths(given: Any, n: int, what: str) -> NDArray[np.bool_]:
    """What a predicate gave, as a column; one truth stands for all rows."""
    try:
        column = np.asarray(given)
        column = np.full(n, bool(column)) if column.ndim == 0 else column.astype(bool)
    except (ValueError, TypeError) as error:
        raise DasError(f"{what} gave {shown(given)}: expected {TRUTHS}") from error
    if column.shape != (n,):
        raise DasError(f"{what} gave an array of shape {column.shape}: expected {n} truths, one per row")
    return column


def parameters(function: Callable[..., Any], what: str = "a function") -> list[str]:
    """The names of a function's parameters. what: the function, for an error."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise DasError(f"{what} is {shown(function)}: expected a function whose parameters are variables by name") from error
