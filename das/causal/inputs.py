"""Inputs: the variables that a causal model is given, their domains together, and samples of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, as_column, checked, concat, row_of, same_length, take
from das.causal.domains import MOST_DRAWS, Domain, Range
from das.causal.predicates import TRUTHS, parameters, truths
from das.causal.seeding import seeded
from das.errors import DasError, called, shown, unknown
from das.ground.checks import whole

MOST_SETTINGS = 10_000_000
"""Enumerations longer than this are refused."""


Constraint = Callable[..., Any]


class Inputs:
    """The inputs of a causal model and what must hold between them.

    domains: input name → its domain.
    where: functions of inputs, by parameter name, each true (elementwise) on the settings that are allowed.
    draw: `draw(rng, n) → {input: column}`, a joint sampler for some or all inputs; the rest come from their domains.
        Without it, settings are drawn from the domains and kept where every constraint holds.

    >>> from das import Range
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
            if isinstance(domain, Range):
                table[name] = domain.exact(table[name])
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
