"""Steerer: an alignment and a network, ready to steer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from das.errors import DasError
from das.interchange.calls import Where
from das.interchange.contrast import Contrast
from das.interchange.feature import Feature
from das.interchange.operators import Add, Operator, Piecewise, Replace, zero_ablation
from das.interchange.steering import Marks, Operators, Push, Tokens, every_token, steering
from das.interchange.subspace import Subspace, orthonormal
from das.network.site import Spot
from das.pairs.dataset import Rows
from das.task.encoded import Encoded
from das.task.rendered import Indices, Prompts
from das.use.applied import AFTER, BEFORE
from das.use.asked import Asked, asked, placed
from das.use.calling import PLACE, of_base, pointed
from das.use.directed import Directed
from das.use.generated import Generated, Under, continued
from das.use.own_pairs import Pointed
from das.use.way import ALL, Way

TOKENS = 20
"""That a text goes on by, where nothing says how long an answer is."""


@dataclass(frozen=True)
class Steerer(Directed):
    """An alignment and a network, ready to steer. task: with it prompts may be values of its inputs, and doses spreads."""

    def steer(
        self, prompts: Any, *also: tuple[Steerer, Way], tokens: int | None = None, options: Mapping[str, Any] | None = None,
        **way: Any,
    ) -> Generated:  # fmt: skip
        """See `steer`. also: further alignments that steer at once, each in its way."""
        given = asked(prompts, self.task, "prompt")
        ways, encoded = [(self, Way.of(way)), *also], self.encoded(given)
        count = self._answer_length(given) if tokens is None else tokens
        said = {BEFORE: continued(self.lm, encoded, count, options or {})}
        said[AFTER] = continued(self.lm, encoded, count, options or {}, under(given, ways))
        what = "\n".join(f"{each.operator} at {one.alignment.cell.id}{one.ends(each)}" for one, each in ways)
        return Generated(what, self.lm.tokenizer, {BEFORE: given.names}, said)

    def ends(self, way: Way) -> str:
        """Where the task's prompts lie along the direction that is added, by the variable's value, so that a reader knows which
        end is which; empty where nothing is added, or where nobody says the values."""
        if way.operator not in ("add", "piecewise") or self.task is None or not self.task.model.complete:
            return ""
        which, (own,) = self.number(way.variable), self.spots([self.alignment.cell.site.spot[1]])
        drawn, rows = self.natural([own])
        along = rows[own] @ self.directions(which)[:, 0].to(rows[own])
        levels = zip(*self.levels(drawn, which), strict=True)
        means = [(f"{along[group].mean():+.2f}".replace("-", "−"), name) for name, group in levels]
        told = ", ".join(f"{mean} ({name})" for mean, name in means)
        return f", along which prompts of the task lie at {told}, by {self.variables[which]}" if told else ""

    def _answer_length(self, prompts: Asked) -> int:
        """So many tokens as the answers of a task's own prompts have; of texts `TOKENS`."""
        if self.task is None or prompts.values is None or not self.task.model.complete:
            return TOKENS
        answers, numbers = self.task.spelled(self.task.outputs(prompts.values), prompts.values, self.lm.tokenizer)
        return int((answers.spelling(numbers) >= 0).sum(1).max())

    @contextmanager
    def steering(self, base: Any = None, **way: Any) -> Iterator[Any]:
        """See `das.use.steer.steered`."""
        how = Way.of(way)
        prompts = None if base is None else self.encoded(asked(base, self.task, "base"), how.position)
        with self.prepared(how, prompts)(None):
            yield self.lm.model

    def encoded(self, prompts: Asked, position: Pointed = None) -> Encoded:
        """Prompts as tokens, with the place that is steered in them."""
        if position is None or position == ALL:
            found: Prompts = prompts.encoded(self.lm.tokenizer)
        else:
            found = placed(prompts, self.lm.tokenizer, PLACE, position, self.task)
        return self.checked(found)

    def reads(self, prompts: Any, position: Pointed = None, variable: Any = None) -> Tensor:
        """How far prompts lie along the direction at the alignment's position, or at another place, (prompts,)."""
        given = asked(prompts, self.task, "prompt")
        there = placed(given, self.lm.tokenizer, self.position, position, self.task)
        (rows,) = self.vectors(there, self.spots([self.alignment.cell.site.spot[1]])).values()
        return rows @ self.directions(self.number(variable))[:, 0].to(rows)

    def prepared(self, way: Way, prompts: Encoded | None) -> Callable[[Rows | None], AbstractContextManager[None]]:
        """What steers some of the prompts, or where none are given those of any call."""
        spots, push = self._spots(way), self._push(way)

        def under(rows: Rows | None) -> AbstractContextManager[None]:
            some = prompts if prompts is None or rows is None else prompts.take(rows)
            count = None if prompts is None else len(prompts)
            return steering(self.lm, spots, Tokens(self._marks(way, some), way.new_tokens), push(rows, count))

        return under

    # --- where ---

    def _spots(self, way: Way) -> list[Spot]:
        return self.spots(way.layers_of(self.alignment.cell.site.spot[1]), way.operator != "contrast")

    def _marks(self, way: Way, prompts: Encoded | None) -> Marks | None:
        if way.position is None:
            return None
        if way.position == ALL:
            return every_token
        where: Where = pointed(self.lm.tokenizer, way.position) if prompts is None else of_base(prompts, PLACE)
        return where

    # --- what ---

    def _push(self, way: Way) -> Callable[[Rows | None, int | None], Push]:
        """From some of the prompts, and how many there are of all, what is done to their vectors."""
        if way.operator == "contrast":
            return self._contrast(way)
        operators = self._operators(way)
        count = max((each.sources.shape[1] for each in operators.values() if isinstance(each, Replace)), default=1)

        def push(rows: Rows | None, prompts: int | None) -> Push:
            _check_count("sources", count, prompts)
            if count == 1 or rows is None:
                return Operators(operators, count)
            return Operators({spot: each.take(torch.from_numpy(rows)) for spot, each in operators.items()}, len(rows))

        return push

    def _contrast(self, way: Way) -> Callable[[Rows | None, int | None], Push]:
        if not self.lm.goes_on:
            raise DasError("contrast vectors are for networks that go on from their prompt: this one is, or has, an encoder")
        if way.position is not None:
            raise DasError("contrast vectors are added where new tokens are made: leave position out")
        spots, ids = self._spots(way), [self._ids(each, name) for each, name in ((way.plus, "plus"), (way.minus, "minus"))]
        alpha = 1.0 if way.alpha is None else way.alpha

        def push(rows: Rows | None, prompts: int | None) -> Push:
            for each in ids:
                _check_count("contrasting prompts", len(each), prompts)
            own = [each if len(each) == 1 or rows is None else [each[row] for row in rows] for each in ids]
            return Contrast(self.lm, spots, own[0], own[1], alpha)

        return push

    def _ids(self, given: Any, name: str) -> list[Indices]:
        encoded = self.encoded(asked(given, self.task, name))
        return [row[-n:] for row, n in zip(encoded.ids, encoded.lengths, strict=True)]

    def _operators(self, way: Way) -> dict[Spot, Operator]:
        spots = self._spots(way)
        if way.operator == "interchange":
            feature = self._feature(way, whole=True)
            return {spot: Replace(feature, rows.expand(feature.variables, -1, -1)) for spot, rows in self._sources(way).items()}
        if way.operator == "project_out":
            return {spot: zero_ablation(self._feature(way), self.lm.size(*spot)) for spot in spots}
        vector = self.directions(self.number(way.variable))[:, 0]
        spread = dict.fromkeys(spots, 1.0) if way.spreads is None else self._spread(spots, vector)
        dose = way.alpha if way.spreads is None else way.spreads
        assert dose is not None
        kind = Add if way.operator == "add" else Piecewise
        return {spot: kind(vector, dose * spread[spot]) for spot in spots}

    def _feature(self, way: Way, whole: bool = False) -> Feature:
        """What is put out or swapped: the directions of a variable, or of all. whole: the alignment's own, if it may be."""
        if whole and way.variable is None:
            return self.alignment.feature
        wanted = range(len(self.variables)) if way.variable is None else [self.number(way.variable)]
        columns = orthonormal(torch.cat([self.directions(i) for i in wanted], 1))
        return Subspace(columns[:, None], torch.ones(1, columns.shape[1]))

    # --- what prompts have ---

    def _sources(self, way: Way) -> dict[Spot, Tensor]:
        """What the sources have at each spot, (sources, size)."""
        given = asked(way.source, self.task, "source")
        prompts = placed(given, self.lm.tokenizer, self.position, way.source_position, self.task)
        return self.vectors(prompts, self._spots(way))

    def _spread(self, spots: Sequence[Spot], vector: Tensor) -> dict[Spot, float]:
        """The standard deviation of natural prompts along a direction of length 1, at each spot."""
        if self.task is None:
            raise DasError("spreads are measured on the task's prompts: give task=, or alpha=, a length along the direction")
        return {spot: float((rows @ vector.to(rows)).std()) for spot, rows in self.natural(spots)[1].items()}


def under(given: Asked, ways: Sequence[tuple[Steerer, Way]]) -> Under:
    """What steers some of the prompts while they are gone on from, each alignment in its way."""
    parts = [one.prepared(each, one.encoded(given, each.position)) for one, each in ways]

    @contextmanager
    def steered(rows: Rows) -> Iterator[None]:
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(part(rows))
            yield

    return steered


def _check_count(what: str, count: int, prompts: int | None) -> None:
    if count > 1 and prompts is not None and prompts != count:
        raise DasError(f"there are {count} {what} and {prompts} prompts: give one, or one for each prompt")
