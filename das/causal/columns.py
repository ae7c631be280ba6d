"""Columns: tables of values, one numpy array per variable, whose rows may hold anything."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import DasError

Column = NDArray[Any]
Columns = dict[str, Column]
"""Variable name → its values, one per row; every column of a table has the same first axis."""


def as_column(values: Any, what: str = "a column") -> Column:
    """Values as an array with one entry per row; tuples and other objects stay whole. `what` names them in an error."""
    if isinstance(values, np.ndarray) and values.ndim:
        return values
    if isinstance(values, str) or not isinstance(values, Iterable) or isinstance(values, np.ndarray):
        raise DasError(f"{what} is {values!r}: expected a column, one value per row, such as np.array([{values!r}])")
    values = list(values)
    if any(isinstance(value, (tuple, list, set, frozenset, dict)) for value in values):
        return objects(values)
    column = np.asarray(values)
    kinds = {bool if isinstance(v, (bool, np.bool_)) else str if isinstance(v, str) else float for v in values}
    return column if len(kinds) < 2 else objects(values)


def objects(values: Sequence[Any]) -> Column:
    """An object column: one Python value per row."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def checked(column: Column, n: int, where: str) -> Column:
    """The column, if its first axis is `n`."""
    if column.ndim == 0 or len(column) != n:
        raise DasError(f"{where} gave an array of shape {column.shape}: expected {n} rows on the first axis")
    return column


def same_length(columns: Mapping[str, Column]) -> int:
    """The common number of rows; DasError where columns differ."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DasError(f"columns differ in length: {lengths}")
    return next(iter(lengths.values()), 0)


def take(columns: Mapping[str, Column], rows: NDArray[Any]) -> Columns:
    """The given rows of every column."""
    return {name: column[rows] for name, column in columns.items()}


def concat(tables: Sequence[Mapping[str, Column]]) -> Columns:
    """Tables with the same columns, one after another; every value stays what it is (see `joined`)."""
    return {name: joined([table[name] for table in tables]) for name in tables[0]}


def joined(columns: Sequence[Column]) -> Column:
    """Columns one after another. Numbers, texts and truths stay apart: numpy alone would make '1' of 1, 1 of True, 1.0 of 1."""
    if len({(column.dtype.kind, column.shape[1:]) for column in columns if len(column)}) < 2:
        return np.concatenate([column for column in columns if len(column)] or columns)
    return objects([value for column in columns for value in column.tolist()])


def row_of(columns: Mapping[str, Column], row: int) -> dict[str, Any]:
    """One row as plain Python values."""
    return {name: column[row].tolist() if hasattr(column[row], "tolist") else column[row] for name, column in columns.items()}


def key(value: Any) -> Hashable:
    """Something hashable that is equal for equal values, vectors and containers among them."""
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    if isinstance(value, (list, tuple)):
        return tuple(map(key, value))
    return value if isinstance(value, Hashable) else repr(value)


def codes(*columns: Column) -> NDArray[np.int64]:
    """Equal rows get equal integers 0, 1, …; columns may hold anything hashable or vectors. Equal is what Python calls equal:
    1, 1.0 and True are, '1' is not."""
    combined = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        part = _codes(column)
        combined = np.unique(combined * (part.max(initial=0) + 1) + part, return_inverse=True)[1].astype(np.int64)
    return combined


def one_to_one(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether two columns of `codes` say the same in other words."""
    return bool(one.max() == other.max() == codes(one, other).max())


def _codes(column: Column) -> NDArray[np.int64]:
    if column.dtype == object:
        index: dict[Any, int] = {}
        return np.fromiter((index.setdefault(key(value), len(index)) for value in column), np.int64, len(column))
    return np.unique(column, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def differ(left: Column, right: Column) -> NDArray[np.bool_]:
    """Where two columns hold different values, as `codes` tells them apart: what one mechanism calls True and another 1 is one
    value, as it is one key of a prompt's answers (`Task.check` refuses answers that write equal values differently)."""
    if left.dtype.kind == right.dtype.kind and left.dtype.kind in "biuU" and left.ndim == right.ndim == 1:
        unequal: NDArray[np.bool_] = left != right
        return unequal
    both = codes(joined([left, right]))
    differs: NDArray[np.bool_] = both[: len(left)] != both[len(left) :]
    return differs
