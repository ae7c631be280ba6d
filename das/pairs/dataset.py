"""Dataset: the pairs of every hypothesis as tokens, each distinct prompt held once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, codes, concat, joined, objects
from das.network.columns import first_column, sizes
from das.network.lm import LM
from das.network.site import Site
from das.pairs.pairs import Pairs
from das.task.answers import Answers, OneToken
from das.task.encoded import Encoded
from das.task.rendered import Prompts
from das.task.task import Task
from das.task.tokenizer import Tokenizer

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """One hypothesis' pairs, as rows of the dataset's prompts.

    base: (pairs,); sources: (variables, pairs). label, base_label, source_label: the counterfactual, base and source answers by
    their numbers (see `das.task.answers`), (pairs,). classes, changed, alone: see `das.pairs.pairs.Pairs`.
    begun: role → the rows that are run to read the role's answer, each followed by a beginning of it, (pairs, slots); without
    any the prompts alone are. answered: whether anybody says the base and source answers; else the label stands there.
    match: the prompt that the network's own answer is taken from where a measure asks for the distribution that a swap should
    lead to: the base, or where only its answer is the counterfactual one, the source; −1 where neither's is. (pairs,)
    """

    base: Rows
    sources: Rows
    label: Rows
    base_label: Rows
    source_label: Rows
    classes: Rows | None = None
    begun: Mapping[str, Rows] = field(default_factory=dict)
    answered: bool = True
    match: Rows | None = None
    changed: NDArray[np.bool_] | None = None
    alone: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: Rows | slice) -> Labelled:
        label, base_label, source_label = (each[rows] for each in (self.label, self.base_label, self.source_label))
        classes = None if self.classes is None else self.classes[:, rows]
        changed, alone = (None if each is None else each[:, rows] for each in (self.changed, self.alone))
        begun = {role: each[rows] for role, each in self.begun.items()}
        match = None if self.match is None else self.match[rows]
        return Labelled(
            self.base[rows], self.sources[:, rows], label, base_label, source_label, classes, begun, self.answered, match,
            changed, alone,
        )  # fmt: skip

    def moved(self, rows: Rows, begun: Mapping[str, Rows]) -> Labelled:
        """The same pairs where their prompts lie elsewhere. rows: where each prompt lies now."""
        match = None if self.match is None else np.where(self.matched, rows[self.match], -1)
        return replace(self, base=rows[self.base], sources=rows[self.sources], begun=begun, match=match)

    @property
    def flips(self) -> NDArray[np.bool_] | None:
        """Pairs whose label is not the base's own; None where that is not known."""
        return self.label != self.base_label if self.answered else None

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Pairs of which a prompt has the counterfactual answer, see `match`. (pairs,)"""
        return np.zeros(len(self), bool) if self.match is None else self.match >= 0

    @property
    def other(self) -> Rows:
        """The answer that the counterfactual one is held against, (pairs,): the base's, or where that is the same, the
        source's; the same again where all three are."""
        other: Rows = np.where(self.label != self.base_label, self.base_label, self.source_label)
        return other

    def with_match(self) -> Labelled:
        """The same pairs with the prompts that have their counterfactual answers, where it is known how these are answered."""
        if not self.answered:
            return self
        source = np.where(self.label == self.source_label, self.first_source, -1)
        return replace(self, match=np.where(self.label == self.base_label, self.base, source))

    @property
    def first_source(self) -> Rows:
        """The prompt of the first source that is swapped, (pairs,)."""
        changed = self.sources != self.base
        first: Rows = self.sources[changed.argmax(0), np.arange(len(self))]
        return first

    def asked(self, role: str) -> tuple[Rows, Rows]:
        """Of a role (see `ROLES`) each pair's prompt and the number of the answer that is read after it."""
        if role == "match":
            return self.base if self.match is None else np.where(self.matched, self.match, self.base), self.label
        number = {"label": self.label, "other": self.other, "base": self.base_label, "source": self.source_label}[role]
        return self.first_source if role == "source" else self.base, number

    def rows(self, role: str) -> Rows:
        """The rows that are run to read a role's answer, (pairs, slots)."""
        return self.begun[role] if self.begun else self.asked(role)[0][:, None]


ROLES = ("label", "other", "base", "source", "match")
"""What is read of a pair: after the base prompt the counterfactual answer, the one it is held against, and the base answer;
after the source prompt the source answer; after the prompt that has the counterfactual answer (`Labelled.match`) this one."""


@dataclass(frozen=True)
class Dataset:
    """prompts: the distinct prompts (of settings that are, one each: see `das.task.identity`), each with every beginning of an
    answer that is read after it; pairs: hypothesis → its pairs as rows of them; answers: how answers are read."""

    prompts: Prompts
    pairs: Mapping[str, Labelled]
    answers: Answers = field(default_factory=OneToken)

    @classmethod
    def make(
        cls, task: Task, tokenizer: Tokenizer, pairs: Mapping[str, Pairs], positions: Sequence[str], known: Column | None = None
    ) -> Dataset:
        """Tokenizes every distinct prompt of the pairs once and resolves the positions in it. known: see `Task.spelled`."""
        tables: list[Columns] = [table for p in pairs.values() for table in (p.base, *p.sources.values())]
        if not tables:
            return cls(Encoded(np.zeros((0, 0), np.int64), np.zeros(0, np.int64)), {})
        every = concat(tables)
        rendered = task.render(every)
        code = codes(*every.values(), objects(rendered.names))  # equal values may be written differently: True and 1
        first, code = np.unique(code, return_index=True, return_inverse=True)[1:]
        prompts = rendered.take(np.sort(first)).encode(tokenizer, positions)
        code = np.argsort(np.argsort(first))[code]
        rows = iter(np.split(code, np.cumsum([len(next(iter(t.values()))) for t in tables])[:-1]))
        outputs = joined([column for p in pairs.values() for column in (p.answer, *p.own_answers)])
        answers, every_number = task.spelled(outputs, tables[0], tokenizer, known)
        numbers = iter(np.split(every_number, np.cumsum([len(p) for p in pairs.values() for _ in range(3)])[:-1]))
        labelled = {}
        for name, p in pairs.items():
            base, sources = next(rows), np.stack([next(rows) for _ in p.sources])
            said = next(numbers), next(numbers), next(numbers)
            made = Labelled(base, sources, *said, p.classes, answered=p.answered, changed=p.changed, alone=p.alone)
            labelled[name] = made.with_match()
        return cls(prompts, labelled, answers).begun()

    def begun(self) -> Dataset:
        """The same pairs, each prompt with every beginning of an answer that is read after it; without such, as they are."""
        prompts, beginnings = self.prompts.asked(), self.answers.beginnings
        if not self.pairs or not beginnings(np.zeros(1, np.int64)).size:
            return self
        asked = {(name, role): p.asked(role) for name, p in self.pairs.items() for role in ROLES}
        wanted = [_keys(rows, beginnings(numbers)) for rows, numbers in asked.values()]
        used = [np.concatenate([p.base, p.sources.ravel()]) for p in self.pairs.values()]
        silent = np.setdiff1d(np.concatenate(used), np.concatenate(wanted)[:, 0])  # prompts after which nothing is read
        wanted.append(np.pad(silent[:, None], ((0, 0), (0, wanted[0].shape[1] - 1))))
        keys, place = np.unique(np.concatenate(wanted), axis=0, return_inverse=True)
        rows = np.split(place.reshape(-1), np.cumsum(list(map(len, wanted)))[:-1])
        found = {at: each.reshape(-1, self.answers.slots) for at, each in zip(asked, rows, strict=False)}
        first = np.searchsorted(keys[:, 0], np.arange(len(prompts)))
        begun = {name: {role: found[name, role] for role in ROLES} for name in self.pairs}
        pairs = {name: p.moved(first, begun[name]) for name, p in self.pairs.items()}
        return Dataset(prompts.take(keys[:, 0]).forced(keys[:, 1:]), pairs, self.answers)

    def answer_tokens(self) -> list[Rows]:
        """Step of an answer → the tokens that counterfactual answers have there; none where answers are no tokens."""
        return self.answers.tokens_of(np.unique(np.concatenate([p.label for p in self.pairs.values()])))

    def right(self, said: NDArray[Any], name: str, role: str) -> NDArray[np.bool_]:
        """On which pairs of a hypothesis what the network said is a role's answer, (pairs,). said: of every prompt, see
        `das.interchange.score.predictions`."""
        p = self.pairs[name]
        return self.answers.right(said[p.rows(role).ravel()], p.asked(role)[1])

    @cached_property
    def used(self) -> tuple[Rows, Rows]:
        """The prompts that are asked for as bases, and as sources, each once, in order."""
        if not self.pairs:
            return (np.zeros(0, np.int64),) * 2
        bases, sources = zip(*((p.rows("label").ravel(), p.sources.ravel()) for p in self.pairs.values()), strict=True)
        return np.unique(np.concatenate(bases)), np.unique(np.concatenate(sources))

    @cached_property
    def identities(self) -> Rows:
        """Of the prompts (see `das.task.identity`). (prompts,)"""
        return self.prompts.identities()

    def roles(self, name: str, variables: Iterable[str]) -> dict[str, Rows]:
        """Of a hypothesis' pairs, `base` and `source.<variable>` → each prompt's identity. (pairs,)"""
        mine = self.pairs[name]
        rows = {"base": mine.base} | {f"source.{v}": at for v, at in zip(variables, mine.sources, strict=True)}
        return {role: self.identities[at] for role, at in rows.items()}

    def first(self, sites: Iterable[Site]) -> int:
        """The first column that any place of the sites has in any prompt."""
        return first_column(self.prompts, sites)

    def sizes(self, lm: LM, site: Site) -> tuple[int, ...]:
        """The lengths of the vectors at each place of a site, all tokens of its position together."""
        return sizes(lm, self.prompts, site)

    def size(self, lm: LM, site: Site) -> int:
        """The length of the vectors at a site, all places together."""
        return sum(self.sizes(lm, site))

    def shared_prefix(self) -> Rows:
        """The tokens that all prompts begin with, up to the first position that is patched or read."""
        start = self.prompts.width - self.prompts.lengths
        reached = [int((at.min(1) - start).min()) for at in self.prompts.positions.values()]
        return self.prompts.prefix(min(reached, default=self.prompts.width))


def _keys(rows: Rows, forms: Rows) -> Rows:
    """A prompt and a beginning in each row, (n · slots, 1 + tail). rows: (n,); forms: (n, slots, tail)."""
    return np.concatenate([np.repeat(rows, forms.shape[1])[:, None], forms.reshape(-1, forms.shape[2])], 1)
