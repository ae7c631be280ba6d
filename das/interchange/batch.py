"""Batch: captured pairs of several hypotheses, ready for swaps at any site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from das.interchange.capture import Capture
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.reply import Reply
from das.network.site import Site
from das.pairs.dataset import ROLES, Dataset, Labelled, Rows
from das.task.answers import Answers


@dataclass(frozen=True)
class Swap:
    """What a swap at one site needs to know of one hypothesis' pairs.

    columns: (rows, n) of the prompts; base: (rows, n·size); source: (variables, rows, n·size).
    """

    columns: Tensor
    base: Tensor
    source: Tensor


@dataclass
class Batch:
    """Some pairs of each hypothesis.

    pairs: as in the dataset; rows: hypothesis → where its pairs lie in `bases`, the capture of all base prompts one below
    another, each pair's `put` times: with every beginning of the answers that are read after it; sources: the capture of every
    distinct source prompt, `source_row` of them. roles: whose answers can be read (see `das.pairs.dataset.ROLES`).
    """

    pairs: dict[str, Labelled]
    rows: dict[str, slice]
    bases: Capture
    sources: Capture
    source_row: Rows
    columns: Mapping[str, Rows]
    answers: Answers
    roles: Sequence[str]
    put: int

    @classmethod
    def capture(
        cls, dataset: Dataset, captures: Captures, rows: Mapping[str, Rows], roles: Sequence[str] = ("label",)
    ) -> Batch:
        """The given pairs of each hypothesis, without gradients."""
        pairs = {name: dataset.pairs[name].take(r) for name, r in rows.items()}
        asked = {name: _rows_of(p, roles) for name, p in pairs.items()}
        ends = np.cumsum([0, *(each.size for each in asked.values())]).tolist()
        spans = {name: slice(a, b) for name, a, b in zip(pairs, ends[:-1], ends[1:], strict=True)}
        wanted = np.unique(np.concatenate([p.sources.ravel() for p in pairs.values()]))
        place = np.full(len(dataset.prompts), -1)
        place[wanted] = np.arange(len(wanted))
        bases = captures.bases(np.concatenate([each.ravel() for each in asked.values()]))
        put = max(each.shape[1] for each in asked.values())
        sources = captures.sources(wanted)
        return cls(pairs, spans, bases, sources, place, dataset.prompts.positions, dataset.answers, roles, put)

    def swap(self, name: str, site: Site) -> Swap:
        """One hypothesis' pairs at a site."""
        p, columns = self.pairs[name], self.columns[site.position]
        base_columns = torch.from_numpy(columns[p.base])
        base = self.bases.at(site.spot, base_columns, torch.arange(self.rows[name].start, self.rows[name].stop, self.put))
        at = torch.from_numpy(columns[p.sources.ravel()])
        source = self.sources.at(site.spot, at, torch.from_numpy(self.source_row[p.sources.ravel()]))
        base, source = base.flatten(1), source.unflatten(0, p.sources.shape).flatten(2)
        own = torch.from_numpy(p.sources == p.base).to(source.device)
        return Swap(base_columns, base, torch.where(own[..., None], base, source))

    def resume(self, engine: Engine, site: Site, swaps: Mapping[str, Swap], deltas: Sequence[Tensor]) -> Tensor:
        """Answers with changes added to the bases of neighbouring hypotheses, all at once.

        deltas: for each hypothesis (copies, rows, n·size). Returns (copies, rows of all of them · put, vocabulary); see
        `das.interchange.reply.Reply.logits`.
        """
        values = torch.cat([s.base.float() + delta for s, delta in zip(swaps.values(), deltas, strict=True)], 1)
        columns = torch.cat([s.columns for s in swaps.values()])
        if self.put > 1:
            values, columns = values.repeat_interleave(self.put, 1), columns.repeat_interleave(self.put, 0)
        names = list(swaps)
        rows = slice(self.rows[names[0]].start, self.rows[names[-1]].stop)
        return engine.resume(self.bases, site.spot, columns, values.unflatten(2, (columns.shape[1], -1)), rows)

    def reply(self, engine: Engine, site: Site, swaps: Mapping[str, Swap], deltas: Sequence[Tensor]) -> Reply:
        """The same, ready to be compared with the pairs' answers."""
        return self.read(self.resume(engine, site, swaps, deltas), [self.pairs[name] for name in swaps])

    def read(self, logits: Tensor, pairs: Sequence[Labelled]) -> Reply:
        """Logits (see `resume`) of pairs of the batch, one set after another, with their answers."""
        roles = self.roles if any(p.begun for p in pairs) else ROLES  # where nothing follows prompts, each is read for all
        numbers = {role: np.concatenate([p.asked(role)[1] for p in pairs]) for role in roles}
        return Reply(logits, self.answers, numbers)

    def shares(
        self, engine: Engine, site: Site, copies: Mapping[str, int], gradients: bool = True
    ) -> Iterator[dict[str, slice]]:
        """What to run at once at a site, when each hypothesis has so many copies of its pairs to be run there: neighbours
        that have equally many together, as far as the engine takes as many rows."""
        tokens = self.bases.prompts.width - int(self.columns[site.position].min())
        most = engine.rows_at_once(site.spot, tokens, gradients)
        for names in _runs(list(self.pairs), copies):
            pairs = max(len(self.pairs[name]) for name in names) * self.put
            beside = max(1, most // pairs)
            for i in range(0, len(names), beside):
                together = names[i : i + beside]
                deep = max(1, most // (pairs * len(together)))
                for start in range(0, copies[names[0]], deep):
                    yield dict.fromkeys(together, slice(start, min(start + deep, copies[names[0]])))


def _rows_of(pairs: Labelled, roles: Sequence[str]) -> Rows:
    """What is run for each pair, (pairs, put): where nothing follows a prompt, it serves all roles."""
    return np.concatenate([pairs.rows(role) for role in (roles if pairs.begun else roles[:1])], 1)


def batches(
    data: Dataset, captures: Captures, drawn: Mapping[str, Rows], rows: int, roles: Sequence[str] = ("label",)
) -> Iterator[tuple[float, Batch]]:
    """The drawn pairs of each hypothesis, `rows` of them at once, with the share that is done thereafter."""
    longest = max(map(len, drawn.values()), default=0)
    for start in range(0, longest, rows):
        some = {name: chosen[start : start + rows] for name, chosen in drawn.items() if start < len(chosen)}
        yield min(1.0, (start + rows) / longest), Batch.capture(data, captures, some, roles)


def _runs(names: Sequence[str], copies: Mapping[str, int]) -> list[list[str]]:
    """Neighbours with the same number of copies; those without any are left out, and part the others."""
    runs: list[list[str]] = []
    last = 0
    for name in names:
        count = copies.get(name, 0)
        if count and count == last:
            runs[-1].append(name)
        elif count:
            runs.append([name])
        last = count
    return runs
