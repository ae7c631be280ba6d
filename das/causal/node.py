"""Node: a variable of a causal model, with the function that gives its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from das.causal.columns import Column, as_column, checked
from das.causal.predicates import parameters
from das.errors import DasError, called, shown

Mechanism = Callable[..., Any]


def scalar(function: Mechanism) -> Mechanism:
    """Marks a mechanism that works on one row at a time; the others get whole columns."""
    function.__das_scalar__ = True  # type: ignore[attr-defined]
    return function


COLUMNWISE = "a column from whole numpy columns (use & | ~ and np.where); mark one that takes one row with @das.scalar"


@dataclass(frozen=True)
class Node:
    """A variable with its parents and the function that gives its value. scalar: from one row at a time."""

    name: str
    parents: tuple[str, ...]
    mechanism: Mechanism
    scalar: bool

    def value(self, columns: Mapping[str, Column], n: int) -> Column:
        arguments = [_read_only(columns[parent]) for parent in self.parents]
        result = called(f"mechanism {self.name!r}", COLUMNWISE, self._computed, arguments, on=f" on {n} rows")
        return checked(result, n, f"mechanism {self.name!r}")

    def _computed(self, arguments: Sequence[Column]) -> Column:
        if self.scalar:
            return self._row_by_row(arguments)
        return np.asarray(self.mechanism(*arguments))

    def _row_by_row(self, arguments: Sequence[Column]) -> Column:
        """One row's value after another's; rows that are alike are asked once, since many pairs have few settings."""
        rows = list(zip(*(rows_of(a) for a in arguments), strict=True))
        if not all(map(_told_apart, arguments)):
            return as_column([self.mechanism(*row) for row in rows])
        place = {row: at for at, row in enumerate(dict.fromkeys(rows))}
        return as_column([self.mechanism(*row) for row in place])[[place[row] for row in rows]]


def node_of(function: Any) -> Node:
    """A mechanism's, whose name is the variable."""
    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str):
        raise DasError(
            f"mechanism {shown(function)}: expected a function, whose name is its variable and parameters its parents"
        )
    return Node(name, tuple(parameters(function, f"mechanism {name!r}")), function, getattr(function, "__das_scalar__", False))


def _read_only(column: Column) -> Column:
    view = column.view()
    view.flags.writeable = False
    return view


def _told_apart(column: Column) -> bool:
    """Whether values that are equal are the same: not so of objects, where 1 is True, nor of floats, where 0. is -0."""
    return column.ndim == 1 and column.dtype.kind in "biuU"


def rows_of(column: Column) -> list[Any]:
    return column.tolist() if column.ndim == 1 else list(column)


def in_order(nodes: Sequence[Node], known: Sequence[str]) -> list[Node]:
    """The nodes, each after its parents."""
    done, waiting, ordered = set(known), list(nodes), []
    while waiting:
        ready = [node for node in waiting if set(node.parents) <= done]
        if not ready:
            raise DasError(f"the mechanisms form a cycle: {', '.join(sorted(node.name for node in waiting))}")
        ordered += ready
        done |= {node.name for node in ready}
        waiting = [node for node in waiting if node.name not in done]
    return ordered
