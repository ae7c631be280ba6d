"""Edits: a variable moved from one value to another, by a swap or by a direction that is added, and what is answered then.

Written down as a causal model an edit is an interchange: the variable is set to what it is under another value of an input,
what is computed from it follows, and nothing else moves. So the model says of every question what should be answered then.
The outcomes are those by which edits of weights are judged (Meng et al. 2022, arXiv 2202.05262), the direction that is added is
that of representation engineering (Zou et al. 2023, arXiv 2310.01405).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from das.causal.columns import Columns, codes, differ, objects, same_length, take
from das.errors import DasError, shown, unknown
from das.find.alignment import Alignment
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Whole
from das.interchange.measures import MEASURES
from das.interchange.operators import Add
from das.interchange.score import IIA, measured, predictions
from das.interchange.selftest import make_engine
from das.interchange.vectors import vectors
from das.network.lm import LM
from das.pairs.dataset import Dataset
from das.pairs.families import Mask
from das.pairs.pairs import Pairs
from das.task.answers import Real
from das.task.hypothesis import Hypothesis
from das.task.task import Task

DOSES = (0.5, 1.0, 1.5, 2.0, 3.0)

SETTINGS = 512
"""Of a task, or of a task under a shift, that moves are made in; where there are more they are drawn."""

Move = tuple[Any, Any]
"""A value of an input, and the other value under which the variable is what it shall become."""


@dataclass(frozen=True)
class Edits:
    """Moves of a variable, to be tried with an alignment that swaps it alone.

    input: what moves, one of the task's inputs: with it the variable is moved, and with the whole vector all that hangs on it.
    doses: multiples of the direction from one value to the other.
    """

    alignment: Alignment
    lm: LM
    task: Task
    input: str
    moves: Sequence[Move]
    doses: Sequence[float] = DOSES

    def __post_init__(self) -> None:
        if self.input not in self.task.model.inputs.names:
            raise unknown("input to be moved", self.input, self.task.model.inputs.names)
        if not self.moves or any(len(move) != 2 or move[0] == move[1] for move in self.moves):
            raise DasError(f"moves are {shown(self.moves)}: expected pairs of two different values of {self.input}")
        if (count := self.alignment.feature.variables) != 1:
            raise DasError(f"{self.alignment.cell.id} swaps {count} variables: an alignment of one is needed for an edit")

    def outcomes(self, shifts: Sequence[str] = ("base",)) -> pd.DataFrame:
        """What is answered under each edit: a row per question, operator and dose.

        Columns: the inputs' values; `edit`, the move in words; `under`, the shift; `moves`, whether the answer should change;
        `operator`; `dose`; `right`, whether what should be answered is the likeliest answer; `probability` of it, where answers
        are no numbers. Asked is what the network answers rightly both before the edit and of the other value.
        Operators: `interchange` puts the alignment's part of the same question about the other value in; `whole` puts all of
        its vector in; `add` adds the direction from one value to the other, which is the alignment's part of their mean
        difference on the task's own questions whose answers the edit changes; `random` adds a random one of the same length.
        """
        directions = self._directions()
        return pd.concat([self._under(shift, directions) for shift in shifts], ignore_index=True)

    def _directions(self) -> dict[str, Tensor]:
        """Move → (d,)."""
        pairs = {name: each.take(np.flatnonzero(_moves(each))) for name, each in self._pairs(self.task).items()}
        if lacking := [name for name, each in pairs.items() if not len(each)]:
            raise DasError(f"{lacking[0]} changes no answer of the task's own questions: there is no direction to be taken")
        data, engine = self._data(self.task, pairs)
        site, found = self.alignment.cell.site, {}
        for name, each in data.pairs.items():
            ((_, base),), ((_, source),) = (vectors(engine, data, rows, [site]) for rows in (each.base, each.sources[0]))
            found[name] = self.alignment.feature.swap(base, source[None]).mean(0)
        return found

    def _under(self, shift: str, directions: Mapping[str, Tensor]) -> pd.DataFrame:
        asked = self.task.under(shift, self.lm.tokenizer)
        pairs = self._known(asked)
        if not pairs:
            raise DasError(f"{self.lm.name} answers no question of {shift} rightly before an edit: there is nothing to measure")
        data, engine = self._data(asked, pairs)
        features = {(name, how): each for name in pairs for how, each in self._features(directions[name], name).items()}
        site = self.alignment.cell.site
        wanted = {(name, how): (name, site, list(each.values())) for (name, how), each in features.items()}
        measures = {} if isinstance(data.answers, Real) else {"probability": MEASURES["probability"]}
        found = measured(engine, data, wanted, measures)
        return pd.concat(
            [
                _table(pairs[name], name, shift).assign(operator=how, dose=dose, **_measures(found[name, how], i))
                for (name, how), each in features.items()
                for i, dose in enumerate(each)
            ],
            ignore_index=True,
        )

    def _known(self, asked: Task) -> dict[str, Pairs]:
        """Move → the pairs of which the network answers base and source rightly; none without such."""
        pairs = self._pairs(asked)
        data, engine = self._data(asked, pairs)
        said = predictions(engine, data.prompts, data.answers)
        known = {name: data.right(said, name, "base") & data.right(said, name, "source") for name in pairs}
        return {name: each.take(np.flatnonzero(known[name])) for name, each in pairs.items() if known[name].any()}

    def _features(self, direction: Tensor, move: str) -> dict[str, dict[float, Feature]]:
        """Operator → dose → what is done."""
        other = torch.randn(len(direction), generator=torch.Generator().manual_seed(zlib.crc32(move.encode())))
        other = other * direction.norm() / other.norm()
        return {
            "interchange": {1.0: self.alignment.feature},
            "whole": {1.0: Whole(1)},
            "add": {dose: Add(direction, dose) for dose in self.doses},
            "random": {dose: Add(other, dose) for dose in self.doses},
        }

    def _pairs(self, asked: Task) -> dict[str, Pairs]:
        """Move → pairs, in every setting where the input may have either value."""
        hypothesis = asked.hypothesis(self.alignment.cell.hypothesis)
        settings, found = _settings(asked), {}
        for move in self.moves:
            base, source = (_given(settings, self.input, value) for value in move)
            inputs = hypothesis.model.inputs
            distinct = np.unique(codes(objects(asked.render(base).names)), return_index=True)[1]
            rows = distinct[(inputs.allowed(base) & inputs.allowed(source))[distinct]]
            found[f"{move[0]} → {move[1]}"] = _moved(hypothesis, take(base, rows), take(source, rows))
        return found

    def _data(self, asked: Task, pairs: Mapping[str, Pairs]) -> tuple[Dataset, Engine]:
        data = Dataset.make(asked, self.lm.tokenizer, pairs, list(self.alignment.cell.site.positions))
        return data, make_engine(self.lm, data.shared_prefix())


def _settings(asked: Task) -> Columns:
    inputs = asked.model.inputs
    size = inputs.size
    return inputs.sample(np.random.default_rng(0), SETTINGS) if size is None or size > SETTINGS else inputs.enumerate()


def _given(settings: Columns, name: str, value: Any) -> Columns:
    return settings | {name: np.full(same_length(settings), value, dtype=np.asarray([value, *settings[name]]).dtype)}


def _moved(hypothesis: Hypothesis, base: Columns, source: Columns) -> Pairs:
    """Pairs that take the variable from the source."""
    (variable,), model = hypothesis.variables, hypothesis.model
    answer = model.interchange(base, {variable: source})[model.output]
    own, other = (model.run(each)[model.output] for each in (base, source))
    n = len(answer)
    return Pairs(base, {variable: source}, own, other, answer, np.ones((n, 1), bool), np.full(n, "edit"))


def _moves(pairs: Pairs) -> Mask:
    """Whether the answer should change, (pairs,)."""
    return differ(pairs.own_answers[0], pairs.answer)


def _table(pairs: Pairs, move: str, shift: str) -> pd.DataFrame:
    return pd.DataFrame(pairs.base | {"edit": move, "under": shift, "moves": _moves(pairs)})


def _measures(found: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {"right" if name == IIA else name: each[row] for name, each in found.items()}
