"""Dataset: the pairs of every hypothesis as tokens, each distinct prompt held once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Columns, codes, concat, objects
from das.network.lm import LM
from das.network.site import Site
from das.pairs.pairs import Pairs
from das.task.rendered import Prompts
from das.task.task import Task
from das.task.tokenizer import Tokenizer

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """One hypothesis' pairs, as rows of the dataset's prompts.

    base: (pairs,); sources: (variables, pairs). label, base_label, source_label: tokens of the counterfactual, base and
    source answers, (pairs,). classes: see `das.pairs.pairs.Pairs`.
    """

    base: Rows
    sources: Rows
    label: Rows
    base_label: Rows
    source_label: Rows
    classes: Rows | None = None

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: Rows | slice) -> Labelled:
        label, base_label, source_label = (each[rows] for each in (self.label, self.base_label, self.source_label))
        classes = None if self.classes is None else self.classes[:, rows]
        return Labelled(self.base[rows], self.sources[:, rows], label, base_label, source_label, classes)


@dataclass(frozen=True)
class Dataset:
    """prompts: the distinct prompts (of settings that are, one each: see `das.task.identity`); pairs: hypothesis → its pairs as
    rows of them."""

    prompts: Prompts
    pairs: Mapping[str, Labelled]

    @classmethod
    def make(cls, task: Task, tokenizer: Tokenizer, pairs: Mapping[str, Pairs], positions: Sequence[str]) -> Dataset:
        """Tokenizes every distinct prompt of the pairs once and resolves the positions in it."""
        tables: list[Columns] = [table for p in pairs.values() for table in (p.base, *p.sources.values())]
        every = concat(tables)
        rendered = task.render(every)
        code = codes(*every.values(), objects(rendered.names))  # equal values may be written differently: True and 1
        prompts = rendered.take(np.unique(code, return_index=True)[1]).encode(tokenizer, positions)
        rows = iter(np.split(code, np.cumsum([len(next(iter(t.values()))) for t in tables])[:-1]))
        labelled = {}
        for name, p in pairs.items():
            answers = np.concatenate([p.answer, p.base_answer, p.source_answer])
            label, base_label, source_label = np.split(task.answer_tokens(answers, p.base, tokenizer), 3)
            base, sources = next(rows), np.stack([next(rows) for _ in p.sources])
            labelled[name] = Labelled(base, sources, label, base_label, source_label, p.classes)
        return cls(prompts, labelled)

    @cached_property
    def identities(self) -> Rows:
        """Of the prompts (see `das.task.identity`). (prompts,)"""
        return self.prompts.identities()

    def roles(self, name: str, variables: Iterable[str]) -> dict[str, Rows]:
        """Of a hypothesis' pairs, `base` and `source.<variable>` → each prompt's identity. (pairs,)"""
        mine = self.pairs[name]
        rows = {"base": mine.base} | {f"source.{v}": at for v, at in zip(variables, mine.sources, strict=True)}
        return {role: self.identities[at] for role, at in rows.items()}

    def first(self, positions: Iterable[str]) -> int:
        """The first column that any of the named positions has in any prompt."""
        return min(int(self.prompts.positions[name].min()) for name in positions)

    def size(self, lm: LM, site: Site) -> int:
        """The length of the vectors at a site, all tokens of its position together."""
        one = self.prompts.take([0])
        return lm.size(*site.spot, one) * int(one.positions[site.position].shape[1])

    def shared_prefix(self) -> Rows:
        """The tokens that all prompts begin with, up to the first position that is patched or read."""
        start = self.prompts.width - self.prompts.lengths
        reached = [int((at.min(1) - start).min()) for at in self.prompts.positions.values()]
        return self.prompts.prefix(min(reached, default=self.prompts.width))
