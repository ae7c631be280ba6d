"""Outcomes: what a network answers after an edit, held against what the causal model says should come of it.

An edit of weights sets a variable under one value of an input: for that subject it is an interchange, for all others it is
nothing. So the model says of every question what should be answered then, and what kind of question it is. The outcomes are
those of Meng et al. (2022, arXiv 2202.05262), and of what follows from an edit (Cohen et al. 2023, arXiv 2307.12976).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from das.causal.columns import Columns, codes, differ, objects, take
from das.errors import DasError
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Whole
from das.interchange.measures import MEASURES
from das.interchange.score import IIA, measured, predictions
from das.judge.moves import Move, called, check_moves, distinct, given, moved, moves_answer, settings_of
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset
from das.pairs.families import Mask
from das.pairs.pairs import Pairs
from das.stats import Bootstrap
from das.task.answers import Real
from das.task.task import Task
from das.task.variant import BASE

OUTCOMES = {
    "efficacy": "the questions it was made on",
    "paraphrase": "the same in other words",
    "hops": "what follows from it",
    "reverse": "asked the other way round",
    "essence": "what else holds of the subject",
    "neighbourhood": "the same of other subjects",
    "beside": "what has nothing to do with it",
}
"""Of the first four the answer should change, of the others it should not."""

NOWHERE = Site(0, "last"), Whole(1).complement
"""A change of nothing: what the network answers as it is."""


@dataclass(frozen=True)
class Group:
    """Questions of all moves under one shift. data, pairs: by the move in words; kinds: of each question its outcome; known:
    whether the network, before any edit, answers as far as is needed for the question to say something. placed: whether the
    subject stands in them."""

    under: str
    data: Dataset
    pairs: Mapping[str, Pairs]
    kinds: Mapping[str, Any]
    known: Mapping[str, Mask]
    placed: bool


@dataclass(frozen=True)
class Questions:
    """What is asked after edits of a hypothesis' one variable.

    input: what is moved; position: where the subject ends, for edits by activations. shifts: under which questions are put,
    beside the task's own; reverse: shifts whose questions name what the variable is and are answered by the subject: after the
    move they are answered by the old subject where the new value is named. neighbours: how many questions about others are
    asked for each move under each shift, drawn.
    """

    task: Task
    lm: LM
    hypothesis: str
    input: str
    moves: Sequence[Move]
    position: str
    shifts: Sequence[str] = ()
    reverse: Sequence[str] = ()
    neighbours: int = 12

    def __post_init__(self) -> None:
        check_moves(self.task, self.input, self.moves)
        if (count := len(self.task.hypothesis(self.hypothesis).variables)) != 1:
            raise DasError(f"{self.hypothesis} aligns {count} variables: an edit moves one")

    def groups(self, engine: Engine) -> list[Group]:
        """All questions. engine: of the network before any edit."""
        both = ((shift, asks) for shift in [BASE, *self.shifts] for asks in (self._about, self._others))
        made = [self._group(engine, shift, asks) for shift, asks in [*both, *((r, self._turned) for r in self.reverse)]]
        return [group for group in made if group.pairs]

    def _group(self, engine: Engine, shift: str, asks: Any) -> Group:
        asked, placed = self.task.under(shift, self.lm.tokenizer), asks == self._about
        found = {called(move): asks(asked, shift, move) for move in self.moves}
        found = {name: (pairs, kinds) for name, (pairs, kinds) in found.items() if len(pairs)}
        pairs = {name: each for name, (each, _) in found.items()}
        positions = ["last", self.position] if placed else ["last"]
        data = Dataset.make(asked, self.lm.tokenizer, pairs, positions)
        kinds = {name: each for name, (_, each) in found.items()}
        return Group(shift, data, pairs, kinds, _known(engine, data, pairs), placed)

    def _about(self, asked: Task, shift: str, move: Move) -> tuple[Pairs, Any]:
        """Questions about the subject."""
        hypothesis, settings = asked.hypothesis(self.hypothesis), settings_of(asked)
        base, source = (given(settings, self.input, value) for value in move)
        rows = _allowed(asked, distinct(asked, base), base, source)
        pairs = moved(hypothesis, take(base, rows), take(source, rows))
        (variable,) = hypothesis.variables
        new = hypothesis.model.run(take(source, rows))[variable]
        changes = "efficacy" if shift == BASE else np.where(differ(new, pairs.answer), "hops", "paraphrase")
        own, other = pairs.own_answers
        return pairs, np.where(moves_answer(pairs), changes, np.where(differ(own, other), "essence", "beside"))

    def _others(self, asked: Task, shift: str, move: Move) -> tuple[Pairs, Any]:
        """Questions about others that would change if they were about the subject; nothing changes."""
        hypothesis, settings = asked.hypothesis(self.hypothesis), settings_of(asked)
        old, new = (given(settings, self.input, value) for value in move)
        changes = moves_answer(moved(hypothesis, old, new))
        rows = np.flatnonzero(changes & (settings[self.input] != move[0]))
        rows = rows[np.isin(rows, distinct(asked, settings))]
        rng = np.random.default_rng(zlib.crc32(f"{called(move)} {shift}".encode()))
        rows = np.sort(rng.permutation(rows)[: self.neighbours])
        base, own = take(settings, rows), settings[self.input][rows] == move[1]
        source = {name: np.where(own, take(old, rows)[name], column) for name, column in take(new, rows).items()}
        pairs = moved(hypothesis, base, source)
        return replace(pairs, answer=pairs.own_answers[0]), np.full(len(rows), "neighbourhood")

    def _turned(self, asked: Task, shift: str, move: Move) -> tuple[Pairs, Any]:
        """Questions that name the new value: they are answered by the subject then."""
        settings = settings_of(asked)
        base, source = (given(settings, self.input, value) for value in reversed(move))
        rows = _allowed(asked, distinct(asked, base), base, source)
        pairs = moved(asked.hypothesis(self.hypothesis), take(base, rows), take(source, rows))
        return replace(pairs, answer=pairs.own_answers[1]), np.full(len(rows), "reverse")


def _allowed(asked: Task, rows: Any, *sides: Columns) -> Any:
    """The rows that are settings of the task on both sides."""
    return rows[np.logical_and.reduce([asked.model.inputs.allowed(side)[rows] for side in sides])]


def _known(engine: Engine, data: Dataset, pairs: Mapping[str, Pairs]) -> dict[str, Mask]:
    """Move → where the network answers the question rightly, and where the answer should change, the other one too."""
    said = predictions(engine, data.prompts, data.answers)
    right = {name: [data.right(said, name, role) for role in ("base", "source")] for name in pairs}
    return {name: base & (source | ~moves_answer(pairs[name])) for name, (base, source) in right.items()}


# --- what is answered ---


def answers(
    engine: Engine, groups: Sequence[Group], move: Move, site: Site | None = None, feature: Feature | None = None
) -> pd.DataFrame:  # fmt: skip
    """A row for each known question of a move: the inputs' values, `edit`, `under`, `outcome`, `right` (whether what should be
    answered is the likeliest of all), `preferred` (whether it is likelier than what would be answered had the edit done the
    opposite; missing where that is the same) and `probability` of it.

    engine: of the network as it is to be judged. site, feature: an edit by activations, which is asked of the subject alone."""
    found = [_answered(engine, group, called(move), site, feature) for group in groups if group.placed or site is None]
    tables = [table for table in found if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"outcome": []})


def _answered(
    engine: Engine, group: Group, name: str, site: Site | None, feature: Feature | None
) -> pd.DataFrame:  # fmt: skip
    rows: Any = np.flatnonzero(group.known[name]) if name in group.known else []
    if not len(rows):
        return pd.DataFrame()
    mine = group.data.pairs[name].take(rows)
    data = replace(group.data, pairs={name: replace(mine, sources=mine.base[None])})
    at, change = NOWHERE if site is None or feature is None else (site, feature)
    measures = {} if isinstance(data.answers, Real) else {m: MEASURES[m] for m in ("probability", "logit_difference")}
    found = measured(engine, data, {name: (name, at, [change])}, measures)[name]
    table = pd.DataFrame(take(group.pairs[name].base, rows)).assign(edit=name, under=group.under)
    table = table.assign(outcome=group.kinds[name][rows], right=found[IIA][0])
    if measures:
        same = mine.label == mine.other
        preferred = np.where(same, np.nan, found["logit_difference"][0] > 0)
        table = table.assign(preferred=preferred, probability=found["probability"][0])
    return table


def shares(table: pd.DataFrame, by: Sequence[str], what: str = "right") -> pd.DataFrame:
    """Of each outcome, and of each value of the columns `by`, the `share` of questions with `what`, its 95 % interval (`low`,
    `high`) over the subjects and what they are moved to, the number of `questions` and of `edits`. Outcomes in their order."""
    order, rows = list(OUTCOMES), list[dict[str, Any]]()
    for key, each in table.dropna(subset=[what]).groupby([*by, "outcome"], sort=False):
        low, high = Bootstrap(_ends(each["edit"])).interval(each[what].to_numpy(float))
        about = dict(zip([*by, "outcome"], key, strict=True))
        counted = {"questions": len(each), "edits": each["edit"].nunique()}
        rows.append(about | {"share": float(each[what].mean()), "low": low, "high": high} | counted)
    return pd.DataFrame(rows, columns=[*by, "outcome", "share", "low", "high", "questions", "edits"]).sort_values(
        "outcome", key=lambda column: column.map(order.index), kind="stable", ignore_index=True
    )


def _ends(edits: pd.Series) -> Any:
    """The two ends of moves as numbers, (2, rows): what moves from or to one value hangs together."""
    both = edits.str.split(" → ", n=1)
    return codes(objects([*both.str[0], *both.str[1]])).reshape(2, -1)
