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

from das.causal.columns import take
from das.errors import DasError
from das.find.alignment import Alignment
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Whole
from das.interchange.measures import MEASURES
from das.interchange.operators import Add
from das.interchange.score import IIA, measured, predictions
from das.interchange.selftest import make_engine
from das.interchange.vectors import vectors
from das.judge.moves import Move, called, check_moves, distinct, given, moved, moves_answer, settings_of
from das.network.lm import LM
from das.pairs.dataset import Dataset
from das.pairs.pairs import Pairs
from das.task.answers import Real
from das.task.task import Task

DOSES = (0.5, 1.0, 1.5, 2.0, 3.0)


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
        check_moves(self.task, self.input, self.moves)
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
        directions = self.directions()
        return pd.concat([self._under(shift, directions) for shift in shifts], ignore_index=True)

    def directions(self) -> dict[str, Tensor]:
        """Move → the direction that is added, (d,)."""
        pairs = {name: each.take(np.flatnonzero(moves_answer(each))) for name, each in self._pairs(self.task).items()}
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
        settings, found = settings_of(asked), {}
        for move in self.moves:
            base, source = (given(settings, self.input, value) for value in move)
            inputs = hypothesis.model.inputs
            rows = distinct(asked, base)
            rows = rows[(inputs.allowed(base) & inputs.allowed(source))[rows]]
            found[called(move)] = moved(hypothesis, take(base, rows), take(source, rows))
        return found

    def _data(self, asked: Task, pairs: Mapping[str, Pairs]) -> tuple[Dataset, Engine]:
        data = Dataset.make(asked, self.lm.tokenizer, pairs, list(self.alignment.cell.site.positions))
        return data, make_engine(self.lm, data.shared_prefix())


def _table(pairs: Pairs, move: str, shift: str) -> pd.DataFrame:
    return pd.DataFrame(pairs.base | {"edit": move, "under": shift, "moves": moves_answer(pairs)})


def _measures(found: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {"right" if name == IIA else name: each[row] for name, each in found.items()}
