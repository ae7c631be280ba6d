"""Domains: what an input of a causal model may be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, as_column, checked, codes, key, objects
from das.causal.predicates import TRUTHS, truths
from das.causal.seeding import seeded
from das.errors import DasError, called, shown
from das.ground.checks import number

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

    def exact(self, values: Column) -> Column:
        """Values of the range as it draws them: 2.0 is written otherwise than 2, and is not the task's prompt."""
        return self._at(np.round((values - self.low) / self.step).astype(np.int64))

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
