"""What the inputs of a causal model may be: one domain per input, and what must hold between them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, as_column, checked, codes, concat, key, objects, row_of, same_length, take
from das.causal.seeding import seeded
from das.errors import DasError, called, shown, unknown
from das.ground.checks import number, whole

MOST_SETTINGS = 10_000_000
"""Enumerations longer than this are refused."""

MOST_VALUES, MOST_DRAWS = 2**53, 10**8
"""Of a range, as many as floats tell apart; of draws at once."""


class Domain(Protocol):
    """The values that one input may take."""

    @property
    def size(self) -> int | None:
        """How many values there are; None where they cannot be counted."""

    def sample(self, rng: np.random.Generator, n: int) -> Column:
        """`n` independent draws."""

    def contains(self, values: Column) -> NDArray[np.bool_]:
        """Which of `values` belong to the domain."""

    def values(self) -> Column:
        """All of them, in order; only where `size` is known."""


@dataclass(frozen=True)
class Range:
    """`low`, `low + step`, …, `high`, both ends included; a step with decimals gives floats rounded to them."""

    low: float
    high: float
    step: float = 1

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            number(f"{name} of a Range", getattr(self, name))
        if not (self.step > 0 and self.low <= self.high):
            raise DasError(f"{self}: expected low <= high and step > 0")
        if (self.high - self.low) / self.step > MOST_VALUES:
            raise DasError(f"{self} has more than {MOST_VALUES:,} values: give a larger step, or a Uniform")

    @property
    def size(self) -> int:
        return int(np.floor((self.high - self.low) / self.step + 1e-9)) + 1

    def _at(self, index: NDArray[np.int64]) -> Column:
        values = self.low + index * self.step
        whole = all(float(x).is_integer() for x in (self.low, self.step))
        return values.astype(np.int64) if whole else np.round(values, _decimals(self.low, self.step))

    def sample(self, rng: np.random.Generator, n: int) -> Column:
        return self._at(rng.integers(0, self.size, n))

    def contains(self, values: Column) -> NDArray[np.bool_]:
        if not np.issubdtype(values.dtype, np.number):
            return np.zeros(len(values), bool)
        steps = (values - self.low) / self.step
        return (np.abs(steps - np.round(steps)) < 1e-6) & (steps > -0.5) & (steps < self.size - 0.5)

    def values(self) -> Column:
        return self._at(np.arange(self.size))


def _decimals(*numbers: float) -> int:
    return max(len(f"{x:.10f}".rstrip("0").split(".")[1]) for x in numbers)


class Choice:
    """One of the given values, of any kind: words, numbers, tuples. A value that is given twice is drawn twice as often, but
    is one value: it counts once in `size` and `values()`.

    options: a sequence, or a set, whose values are put in order: a set of texts has another order in every process.
    """

    def __init__(self, options: Collection[Any]) -> None:
        if not isinstance(options, Iterable):
            raise DasError(f"Choice({shown(options)}): expected several options, such as Choice(['a', 'b'])")
        options = options if isinstance(options, set | frozenset) else list(options)
        if not options:
            raise DasError("Choice: expected at least one option, found none")
        self.options = as_column(_ordered(options))
        self._distinct = self.options[np.sort(np.unique(_written(self.options), return_index=True)[1])]

    def __repr__(self) -> str:
        return f"Choice({self.options.tolist()!r})"

    @property
    def size(self) -> int:
        return len(self._distinct)

    def sample(self, rng: np.random.Generator, n: int) -> Column:
        return self.options[rng.integers(0, len(self.options), n)]

    def contains(self, values: Column) -> NDArray[np.bool_]:
        allowed = {key(option) for option in self.options}
        plain = values.ndim == 1 and values.dtype != object
        return np.fromiter(map(allowed.__contains__, values.tolist() if plain else map(key, values)), bool, len(values))

    def values(self) -> Column:
        return self._distinct


def _ordered(options: Collection[Any]) -> list[Any]:
    """As they come; of a set, by value where values can be compared, else by how they are written."""
    if not isinstance(options, set | frozenset):
        return list(options)
    try:
        return sorted(options)
    except TypeError:
        return sorted(options, key=repr)


def _written(options: Column) -> NDArray[np.int64]:
    """A number for each option, equal for equal ones that are written alike: True and 1 are two."""
    return codes(options, objects([repr(key(option)) for option in options]))


class Bool(Choice):
    """False or True."""

    def __init__(self) -> None:
        super().__init__([False, True])

    def contains(self, values: Column) -> NDArray[np.bool_]:
        return np.full(len(values), values.dtype == np.bool_)

    def __repr__(self) -> str:
        return "Bool()"


@dataclass(frozen=True)
class Uniform:
    """Any real number in [low, high)."""

    low: float = 0.0
    high: float = 1.0
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if number("low of a Uniform", self.low) > number("high of a Uniform", self.high):
            raise DasError(f"{self}: expected low <= high")

    def sample(self, rng: np.random.Generator, n: int) -> Column:
        return rng.uniform(self.low, self.high, n)

    def contains(self, values: Column) -> NDArray[np.bool_]:
        if not np.issubdtype(values.dtype, np.number):
            return np.zeros(len(values), bool)
        return (values >= self.low) & (values <= self.high)

    def values(self) -> Column:
        raise DasError(f"{self} is continuous: it has no list of values; sample it instead")


@dataclass(frozen=True)
class Sampler:
    """Whatever `draw(rng, n)` returns (first axis `n`); `accepts(values)` says what belongs, by default everything.

    What `draw` takes from the global generators of Python and numpy follows from `rng` as well (see `das.causal.seeding`).
    """

    draw: Callable[[np.random.Generator, int], Any]
    accepts: Callable[[Column], NDArray[np.bool_]] | None = None
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        for what, function in (("draw", self.draw), ("accepts", self.accepts)):
            if not callable(function) and (what == "draw" or function is not None):
                raise DasError(f"{what} of a Sampler is {shown(function)}: expected a function")

    def sample(self, rng: np.random.Generator, n: int) -> Column:
        with seeded(rng):
            drawn = called("the sampler", "draw(rng, n) to give n values", self.draw, rng, n)
        return checked(as_column(drawn, "what the sampler gave"), n, "the sampler")

    def contains(self, values: Column) -> NDArray[np.bool_]:
        if self.accepts is None:
            return np.ones(len(values), bool)
        return truths(called("accepts of a sampler", TRUTHS, self.accepts, values), len(values), "accepts of a sampler")

    def values(self) -> Column:
        raise DasError("a Sampler has no list of values; sample it instead")


Constraint = Callable[..., Any]

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


class Inputs:
    """The inputs of a causal model and what must hold between them.

    domains: input name → its domain.
    where: functions of inputs, by parameter name, each true (elementwise) on the settings that are allowed.
    draw: `draw(rng, n) → {input: column}`, a joint sampler for some or all inputs; the rest come from their domains.
        Without it, settings are drawn from the domains and kept where every constraint holds.

    >>> Inputs({"a": Range(1, 3), "b": Range(1, 3)}, where=lambda a, b: a < b).size
    3
    """

    def __init__(
        self,
        domains: Mapping[str, Domain],
        where: Constraint | Sequence[Constraint] = (),
        draw: Callable[[np.random.Generator, int], Mapping[str, Any]] | None = None,
    ) -> None:
        if not isinstance(domains, Mapping) or not domains:
            raise DasError("a causal model needs at least one input: expected a mapping from variables to domains")
        self.domains = dict(domains)
        for name, domain in self.domains.items():
            if not isinstance(name, str) or not all(hasattr(domain, each) for each in ("sample", "contains", "values", "size")):
                raise DasError(
                    f"input {shown(name)} has the domain {shown(domain)}: expected a text, and one of "
                    "Range, Choice, Bool, Uniform, Sampler"
                )
        self.where = tuple(where) if isinstance(where, Sequence) else (where,)
        if draw is not None and not callable(draw):
            raise DasError(f"draw of Inputs is {shown(draw)}: expected a function draw(rng, n) → {{input: column}}")
        self.draw = draw
        self._named = [(constraint, parameters(constraint, "a constraint")) for constraint in self.where]
        for _, names in self._named:
            if not names:
                raise DasError("a constraint has no parameters: expected a function of inputs, such as lambda a, b: a < b")
            for name in names:
                if name not in self.domains:
                    raise unknown("input in a constraint", name, self.domains)

    @property
    def names(self) -> list[str]:
        return list(self.domains)

    def allowed(self, columns: Mapping[str, Column]) -> NDArray[np.bool_]:
        """Which rows meet every constraint whose inputs are all among `columns`."""
        n = len(next(iter(columns.values())))
        keep = np.ones(n, bool)
        for constraint, names in self._named:
            if set(names) <= set(columns):
                what = f"the constraint between {', '.join(names)}"
                keep &= truths(called(what, TRUTHS, constraint, *(columns[name] for name in names)), n, what)
        return keep

    def validate(self, columns: Mapping[str, Any]) -> Columns:
        """The same rows as numpy columns; DasError on a missing or unknown input, or a value that is not allowed."""
        if not isinstance(columns, Mapping):
            raise DasError(f"inputs are {shown(columns)}: expected a mapping from input to its column")
        for name in columns:
            if name not in self.domains:
                raise unknown("input", name, self.domains)
        table: Columns = {}
        for name, domain in self.domains.items():
            if name not in columns:
                raise DasError(f"input {name!r} is missing: given {', '.join(columns) or 'nothing'}")
            table[name] = as_column(columns[name], f"input {name!r}")
            bad = ~domain.contains(table[name])
            if bad.any():
                row = int(np.argmax(bad))
                raise DasError(f"input {name!r} is {row_of(table, row)[name]!r} in row {row}: expected a value of {domain}")
        same_length(table)
        if not (keep := self.allowed(table)).all():
            row = int(np.argmin(keep))
            raise DasError(f"row {row} breaks a constraint between the inputs: {row_of(table, row)}")
        return table

    def sample(self, rng: np.random.Generator, n: int) -> Columns:
        """`n` allowed settings, drawn independently."""
        n = whole("the number of settings to be drawn", n, 0, MOST_DRAWS)
        if not isinstance(rng, np.random.Generator):
            raise DasError(f"rng is {shown(rng)}: expected a numpy.random.Generator, such as np.random.default_rng(0)")
        parts: list[Columns] = []
        have, tried = 0, 0
        while have < n or not parts:
            ask = n if tried == 0 else min(2 * (n - have) * max(1, tried // max(have, 1)), MOST_SETTINGS)
            drawn = self._draw(rng, ask)
            keep = self.allowed(drawn)
            parts.append(take(drawn, np.flatnonzero(keep)))
            have, tried = have + int(keep.sum()), tried + ask
            if tried > 1e5 and have < 1e-4 * tried:
                raise DasError(
                    f"only {have} of {tried} drawn settings meet the constraints: give Inputs(…, draw=) a joint sampler"
                )
        return take(concat(parts), np.arange(n))

    def _draw(self, rng: np.random.Generator, n: int) -> Columns:
        with seeded(rng):
            joint = {} if self.draw is None else self._drawn_together(rng, n)
            for name in joint:
                if name not in self.domains:
                    raise unknown("input from the joint sampler", name, self.domains)
            return {
                name: checked(as_column(joint[name], f"{name!r} of the joint sampler"), n, "the joint sampler")
                if name in joint
                else domain.sample(rng, n)
                for name, domain in self.domains.items()
            }

    def _drawn_together(self, rng: np.random.Generator, n: int) -> Mapping[str, Any]:
        assert self.draw is not None
        expected = "draw(rng, n) to give a mapping from inputs to columns"
        drawn = called("the joint sampler", expected, self.draw, rng, n)
        if not isinstance(drawn, Mapping):
            raise DasError(f"the joint sampler gave {shown(drawn)}: expected {expected}")
        return drawn

    @property
    def size(self) -> int | None:
        """How many settings are allowed; None where they cannot be counted: an input is continuous or custom, or a
        constraint ties more settings together than can be looked at."""
        if any(domain.size is None for domain in self.domains.values()):
            return None
        try:
            return math.prod(same_length(table) for table in self._groups())
        except _TooMany:
            return None

    def enumerate(self) -> Columns:
        """Every allowed setting, once."""
        if any(domain.size is None for domain in self.domains.values()):
            raise DasError("an input is continuous or custom: its settings cannot be enumerated; sample them instead")
        table: Columns = {}
        for group in self._groups():
            table = _product(table, group)
        return {name: table[name] for name in self.domains}

    def _groups(self) -> list[Columns]:
        """The allowed settings of each set of inputs that constraints tie together."""
        groups: list[set[str]] = [{name} for name in self.domains]
        for _, names in self._named:
            tied = [group for group in groups if group & set(names)]
            groups = [group for group in groups if group not in tied] + [set().union(*tied)]
        tables = []
        for tied_names in groups:
            table: Columns = {}
            for name in (n for n in self.domains if n in tied_names):
                if (self.domains[name].size or 0) > MOST_SETTINGS:
                    raise _TooMany(f"input {name!r} has {self.domains[name].size:,} values, too many to enumerate: sample them")
                table = _product(table, {name: self.domains[name].values()})
            tables.append(take(table, np.flatnonzero(self.allowed(table))))
        return tables


class _TooMany(DasError):
    pass


def _product(left: Columns, right: Columns) -> Columns:
    if not left:
        return right
    n, m = len(next(iter(left.values()))), len(next(iter(right.values())))
    if n * m > MOST_SETTINGS:
        raise _TooMany(f"{n * m:,} settings are too many to enumerate; sample them instead")
    return take(left, np.repeat(np.arange(n), m)) | take(right, np.tile(np.arange(m), n))


def parameters(function: Callable[..., Any], what: str = "a function") -> list[str]:
    """The names of a function's parameters. what: the function, for an error."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise DasError(f"{what} is {shown(function)}: expected a function whose parameters are variables by name") from error
