"""Editor: edits of a network by the weights of one MLP, and what they are held against, ready to be asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from das.causal.columns import take
from das.edit.covariance import Moment, second_moments
from das.edit.memory import VALUE, Memory
from das.edit.patch import Patch
from das.edit.rome import Association, Settings, Wanted, associate
from das.edit.tuned import tune
from das.errors import DasError, unknown
from das.find.alignment import Alignment, Cell
from das.find.kinds import Full
from das.interchange.engine import ResumeEngine
from das.interchange.feature import Feature, Whole
from das.interchange.operators import Add
from das.judge.edits import Edits
from das.judge.moves import Move, called, distinct, given, moved, moves_answer, settings_of
from das.judge.outcomes import Group, Questions, answers
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset
from das.run.provenance import weights
from das.run.reading import Reading, Written
from das.task.encoded import Encoded
from das.task.prompt import Prompt
from das.task.shifts import Context
from das.task.task import Task

METHODS = {
    "rome": "ROME, a change of rank one",
    "twin": "its value, put in as an activation",
    "tuned": "the same matrix, fine-tuned",
    "direction": "the mean difference of the two subjects, added",
    "none": "no edit",
}

BEGINNING = 10
"""Tokens of a text that stand before a question as a context."""


@dataclass(frozen=True)
class Made:
    """An edit: by weights (`patch`), or by activations (`feature` at `site`). loss: of the wanted answers, before and after."""

    patch: Patch | None = None
    site: Site | None = None
    feature: Feature | None = None
    loss: tuple[float, float] | None = None

    def within(self, lm: LM) -> AbstractContextManager[Any]:
        """The network under it, as far as it is one of weights."""
        return self.patch.applied(lm) if self.patch else nullcontext(lm)


@dataclass
class Editor:
    """questions: of the moves that will be made. contexts: texts that are put before a question while a value is looked for.
    moments: layer → the second moment of its keys. settings: of the search."""

    engine: ResumeEngine
    questions: Questions
    contexts: Sequence[str]
    moments: Mapping[int, Moment]
    settings: Settings = field(default_factory=Settings)
    _found: dict[tuple[Move, int], Association] = field(default_factory=dict)

    @property
    def lm(self) -> LM:
        return self.questions.lm

    @cached_property
    def groups(self) -> list[Group]:
        """What is asked."""
        return self.questions.groups(self.engine)

    @property
    def known(self) -> float | None:
        """The share of the questions which edits are made on, about the subject and about the other one, that the network
        answers rightly before any edit; None where there are no such."""
        made = [group.known[move][group.kinds[move] == "efficacy"] for group in self.groups for move in group.pairs]
        both = np.concatenate([np.zeros(0, bool), *made])
        return float(both.mean()) if len(both) else None

    def wanted(self, move: Move, contexts: Sequence[str] | None = None) -> list[Wanted]:
        """The task's own questions whose answers the move changes, and behind each context one of them in turn. DasError where
        it changes none."""
        q, name = self.questions, called(move)
        found = []
        behind = [_behind(q.task, each) for each in (self.contexts if contexts is None else contexts)]
        for turn, asked in enumerate([q.task, *behind]):
            base, source = (given(settings_of(asked), q.input, value) for value in move)
            rows = distinct(asked, base)
            pairs = moved(asked.hypothesis(q.hypothesis), take(base, rows), take(source, rows))
            pairs = pairs.take(moves_answer(pairs).nonzero()[0])
            if not len(pairs):
                raise DasError(f"{name} changes no answer of the task's own questions: there is nothing to be learnt")
            pairs = pairs.take(np.array([(turn - 1) % len(pairs)])) if turn else pairs
            found.append(Wanted(Dataset.make(asked, self.lm.tokenizer, {name: pairs}, [q.position]), name, q.position))
        return found

    def same(self, move: Move) -> tuple[Encoded, str] | None:
        """What is said after "SUBJECT is a", behind a context if there is one. None where the position is not the subject's
        own."""
        name, text = self.questions.input, f"{{{self.questions.input}}} is a"
        if not self.questions.position.startswith(f"{name}."):
            return None
        before = self.contexts[0].replace("{", "(").replace("}", ")") if self.contexts else ""
        columns: Any = given(settings_of(self.questions.task), name, move[0])
        one = {name: columns[name][:1]}
        encoded = Prompt(before + text, str).render(one).encode(self.lm.tokenizer, [self.questions.position])
        assert isinstance(encoded, Encoded)
        return encoded, self.questions.position

    def association(self, move: Move, layer: int) -> Association:
        """Key and value of a move, looked for once."""
        if (move, layer) not in self._found:
            memory = Memory.of(self.lm, layer)
            self._found[move, layer] = associate(
                self.engine, memory, self.moments[layer], self.wanted(move), self.same(move), self.settings
            )
        return self._found[move, layer]

    def made(self, method: str, move: Move, layer: int) -> Made:
        """An edit by one of `METHODS`."""
        if method not in METHODS:
            raise unknown("way to edit", method, METHODS)
        make: dict[str, Callable[[Move, int], Made]] = {
            "rome": self._rome, "twin": self._twin, "tuned": self._tuned, "direction": self._direction,
            "none": lambda *_: Made(),
        }  # fmt: skip
        return make[method](move, layer)

    def _rome(self, move: Move, layer: int) -> Made:
        found = self.association(move, layer)
        return Made(found.patch(edit=called(move), lm=self.lm.name), loss=found.loss)

    def _twin(self, move: Move, layer: int) -> Made:
        found = self.association(move, layer)
        return Made(None, Site(layer, self.questions.position, VALUE), Add(found.delta), found.loss)

    def _tuned(self, move: Move, layer: int) -> Made:
        memory = Memory.of(self.lm, layer)
        patch = tune(self.engine, memory, self.wanted(move, ()), edit=called(move), lm=self.lm.name)
        return Made(patch, loss=tuple(patch.about["loss"]))

    def _direction(self, move: Move, layer: int) -> Made:
        q, site = self.questions, Site(layer, self.questions.position)
        whole = Alignment(Cell(q.hypothesis, site, Full()), Whole(1))
        direction = Edits(whole, self.lm, q.task, q.input, [move]).directions()[called(move)]
        return Made(None, site, Add(direction))

    def answers(self, method: str, move: Move, layer: int) -> tuple[pd.DataFrame, Made]:
        """What is answered after an edit (see `das.judge.outcomes.answers`), with `method`, `layer` and the `loss` reached; and
        the edit."""
        made = self.made(method, move, layer)
        with made.within(self.lm):
            table = answers(self.engine, self.groups, move, made.site, made.feature)
        return table.assign(method=method, layer=layer, loss=made.loss[1] if made.loss else float("nan")), made


def _behind(task: Task, context: str) -> Task:
    return task.under(Context(context, "before"))


# --- what is read ---


def moments_of(
    engine: ResumeEngine, layers: Sequence[int], read: Reading, cache: str | Path | None, progress: Callable[[float], None]
) -> dict[int, Moment]:  # fmt: skip
    """Layer → the moment of its keys over a reading, kept in a folder if one is given."""

    def batches() -> Iterator[Any]:
        for i in range(read.batches):
            yield read.at(i)
            progress((i + 1) / read.batches)

    key = repr([sorted(weights(engine.lm).items()), _print(read)])
    memories = [Memory.of(engine.lm, layer) for layer in layers]
    return second_moments(engine, memories, batches(), Path(cache) if cache else None, key)


def _print(read: Reading) -> str:
    """What tells a reading from others: its tokens; of a task, whose batches are drawn by their numbers, those of the first and
    the last."""
    ends: list[Any] = [read.at(0), read.at(read.batches - 1)]
    body = read.ids.tobytes() if isinstance(read, Written) else b"".join(each.ids.tobytes() for each in ends)
    return f"{read.batches} {hashlib.blake2b(body, digest_size=16).hexdigest()}"


def beginnings(read: Reading, tokenizer: Any, count: int) -> list[str]:
    """So many stretches of what is read, each to be put before a question, of `BEGINNING` tokens."""
    batch: Any = read.held_at(0)
    rows = [row[len(row) - n :] for row, n in zip(batch.ids, batch.lengths, strict=True)][:count]
    texts = [tokenizer.decode(row[:BEGINNING], skip_special_tokens=True) for row in rows]
    return [f"{' '.join(text.split()).rstrip('.')}. " for text in texts if text.strip()]
