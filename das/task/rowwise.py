"""Rowwise: functions of one prompt's values, by the names of their parameters, that a prompt is written or read with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from das.causal.predicates import parameters
from das.errors import DasError, called, shown

Rowwise = Callable[..., Any]


def check_functions(what: str, given: Any, taken: Sequence[str] = ()) -> None:
    """DasError unless it is a mapping from names to functions. taken: names that mean something else."""
    if not isinstance(given, Mapping):
        raise DasError(f"the {what}s of a prompt are {shown(given)}: expected a mapping from names to functions")
    for name, function in given.items():
        if not isinstance(name, str) or not name.isidentifier() or name in ("first", "last", *taken):
            raise DasError(f"a {what} cannot be called {shown(name)}: expected another name, such as those of variables are")
        if not callable(function):
            raise DasError(f"{what} {name!r} is {shown(function)}: expected a function of variables, by parameter name")


def taken_by(functions: Mapping[str, Rowwise]) -> list[str]:
    """The variables that functions take, each once."""
    return list(dict.fromkeys(name for function in functions.values() for name in parameters(function)))


def rows_of(values: Mapping[str, Sequence[Any]], n: int, names: Sequence[str] | None = None) -> list[tuple[Any, ...]]:
    """What variables are, all or those named, in each of n rows."""
    columns = [values[name] for name in (values if names is None else names)]
    return list(zip(*columns, strict=True)) if columns else [()] * n


def computed(what: str, function: Rowwise, values: Mapping[str, Sequence[Any]], n: int) -> list[Any]:
    """What a function gives on each of n rows. values: variable → its value in each."""
    expected = "one value from those of one prompt"
    rows = rows_of(values, n, parameters(function, what))
    return [called(what, expected, function, *row, on=f" on {shown(row)}") for row in rows]
