"""Dataset: the pairs of every hypothesis as tokens, each distinct prompt held and run once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.domains import Columns, codes, concat, take
from das.engine import Capture, Engine
from das.pairs import Pairs
from das.prompt import Encoded, Tokenizer
from das.task import Task

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """One hypothesis' pairs, as rows of the dataset's prompts.

    base: (pairs,); sources: (variables, pairs). label, base_label, source_label: tokens of the counterfactual, base and
    source answers, (pairs,).
    """

    base: Rows
    sources: Rows
    label: Rows
    base_label: Rows
    source_label: Rows

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: Rows) -> Labelled:
        return Labelled(
            self.base[rows], self.sources[:, rows], self.label[rows], self.base_label[rows], self.source_label[rows]
        )


@dataclass(frozen=True)
class Dataset:
    """prompts: the distinct prompts; pairs: hypothesis → its pairs as rows of them."""

    prompts: Encoded
    pairs: Mapping[str, Labelled]

    @classmethod
    def make(cls, task: Task, tokenizer: Tokenizer, pairs: Mapping[str, Pairs], positions: Sequence[str]) -> Dataset:
        """Tokenizes every distinct prompt of the pairs once and resolves the positions in it."""
        tables: list[Columns] = [table for p in pairs.values() for table in (p.base, *p.sources.values())]
        every = concat(tables)
        code = codes(*every.values())
        first = np.unique(code, return_index=True)[1]
        prompts = task.encode(take(every, first), tokenizer, positions)
        rows = iter(np.split(code, np.cumsum([len(next(iter(t.values()))) for t in tables])[:-1]))
        labelled = {}
        for name, p in pairs.items():
            answers = np.concatenate([p.answer, p.base_answer, p.source_answer])
            tokens = np.split(task.answer_tokens(answers, p.base, tokenizer), 3)
            labelled[name] = Labelled(next(rows), np.stack([next(rows) for _ in p.sources]), *tokens)
        return cls(prompts, labelled)

    def shared_prefix(self) -> Rows:
        """The tokens that all prompts begin with, up to the first position that is patched or read."""
        width = self.prompts.ids.shape[1]
        start = width - self.prompts.lengths
        reach = min([int((at.min(1) - start).min()) for at in self.prompts.positions.values()], default=width)
        n = min(self.prompts.common_prefix(), reach, int(self.prompts.lengths.min()) - 1)
        return self.prompts.ids[0, start[0] : start[0] + n]


@dataclass(frozen=True)
class Site:
    """Where activations are swapped: a component's output, after layer `layer` (from 0), at a named position."""

    layer: int
    position: str
    component: str = "block_output"

    def __str__(self) -> str:
        return f"{self.component}[{self.layer}] @ {self.position}"


@dataclass
class Batch:
    """Captured activations of some pairs of each hypothesis, ready for swaps at any of the given layers.

    pairs: as in the dataset; bases: hypothesis → the capture of its base prompts; sources: of all source prompts.
    """

    pairs: dict[str, Labelled]
    bases: dict[str, Capture]
    sources: Capture
    source_row: Rows
    columns: Mapping[str, Rows]

    @classmethod
    def capture(cls, dataset: Dataset, rows: Mapping[str, Rows], engine: Engine, layers: Sequence[int]) -> Batch:
        """Runs the base prompts of each hypothesis, and every distinct source prompt once, without gradients."""
        pairs = {name: dataset.pairs[name].take(r) for name, r in rows.items()}
        wanted = np.unique(np.concatenate([p.sources.ravel() for p in pairs.values()]))
        place = np.full(len(dataset.prompts), -1)
        place[wanted] = np.arange(len(wanted))
        bases = {name: engine.capture(dataset.prompts.take(p.base), layers) for name, p in pairs.items()}
        sources = engine.capture(dataset.prompts.take(wanted), layers, resumable=False)
        return cls(pairs, bases, sources, place, dataset.prompts.positions)

    def at(self, name: str, site: Site) -> tuple[Tensor, Tensor, Tensor]:
        """For one hypothesis at a site: columns (rows, n), base vectors (rows, n·d), source vectors (variables, rows, n·d),
        where subspaces live: in memory, whatever the network's device."""
        p, columns = self.pairs[name], self.columns[site.position]
        base_columns = torch.from_numpy(columns[p.base])
        base = self.bases[name].vectors(site.layer, base_columns)
        at = torch.from_numpy(columns[p.sources.ravel()])
        rows = torch.from_numpy(self.source_row[p.sources.ravel()])
        source = self.sources.vectors(site.layer, at, rows).unflatten(0, p.sources.shape)
        return base_columns, base.flatten(1).cpu(), source.flatten(2).cpu()

    def resume(self, engine: Engine, name: str, site: Site, columns: Tensor, base: Tensor, deltas: Tensor) -> Tensor:
        """Logits after the last token with each change added to the base: deltas (copies, rows, n·d) → (copies, rows, V)."""
        values = (base.float() + deltas).unflatten(2, (columns.shape[1], -1))
        return engine.resume(self.bases[name], site.layer, columns, values)

    def label(self, name: str) -> Tensor:
        return torch.from_numpy(self.pairs[name].label)
