"""Batch: captured pairs of several hypotheses, ready for swaps at any site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from das.interchange.capture import Capture
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.patch import Patch
from das.interchange.reply import Reply
from das.network.columns import staged
from das.network.site import Place, Site
from das.pairs.dataset import ROLES, Dataset, Labelled, Rows
from das.task.answers import Answers

Keep = Callable[[slice, Tensor], Tensor]
"""Which entries of the vector, and what an earlier change did there, (copies, rows, those entries) → what is left of it."""


@dataclass(frozen=True)
class Swap:
    """What a swap at one site needs to know of one hypothesis' pairs.

    columns: of each place (rows, n) of the prompts; sizes: its entries, n·size, which add up to d. base: (rows, d); source:
    (variables, rows, d).
    """

    columns: Sequence[Tensor]
    sizes: Sequence[int]
    base: Tensor
    source: Tensor


@dataclass
class Batch:
    """Some pairs of each hypothesis.

    pairs: as in the dataset; rows: hypothesis → where its pairs lie in `bases`, the capture of all base prompts one below
    another, each pair's `put` times: with every beginning of the answers that are read after it; sources: the capture of every
    distinct source prompt, `source_row` of them. roles: whose answers can be read (see `das.pairs.dataset.ROLES`). clean: by
    hypothesis, where it was asked for, the network's own answers to the prompts that have the counterfactual answers (see
    `das.pairs.dataset.Labelled.match`), every pair's slots one after another.
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
    clean: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def capture(
        cls, dataset: Dataset, captures: Captures, rows: Mapping[str, Rows], roles: Sequence[str] = ("label",),
        matched: bool = False,
    ) -> Batch:  # fmt: skip
        """The given pairs of each hypothesis, without gradients. matched: with the answers that swaps should lead to."""
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
        clean = {name: captures.clean(p.rows("match").ravel()) for name, p in pairs.items()} if matched else {}
        return cls(pairs, spans, bases, sources, place, dataset.prompts.positions, dataset.answers, roles, put, clean)

    def swap(self, name: str, site: Site) -> Swap:
        """One hypothesis' pairs at a site."""
        p, asked = self.pairs[name], self.pairs[name].sources.ravel()
        at = np.arange(self.rows[name].start, self.rows[name].stop, self.put)
        base = values_at(self.bases, site.places, self.columns, p.base, at)
        source = [
            values.unflatten(0, p.sources.shape)
            for values in values_at(self.sources, site.sources, self.columns, asked, self.source_row[asked])
        ]
        own = torch.from_numpy(p.sources == p.base).to(base[0].device)[..., None]
        for i, (here, there) in enumerate(site.pairs):
            if here == there:  # of the same prompt, captured otherwise: equal but for rounding
                source[i] = torch.where(own, base[i], source[i])
        columns = [torch.from_numpy(self.columns[place.position][p.base]) for place in site.places]
        return Swap(columns, [values.shape[1] for values in base], torch.cat(base, 1), torch.cat(source, 2))

    def resume(
        self, engine: Engine, site: Site, swaps: Mapping[str, Swap], deltas: Sequence[Tensor],
        keeps: Sequence[Keep] | None = None,
    ) -> Tensor:  # fmt: skip
        """Answers with changes added to the bases of neighbouring hypotheses, all at once.

        deltas: for each hypothesis (copies, rows, d). keeps: for each, what its changes leave of what an earlier place's change
        has done at a later one (see `das.interchange.feature.kept`); by default nothing of it: each place gets its own
        base's vector and the change, whatever comes. Returns (copies, rows of all of them · put, vocabulary); see
        `das.interchange.reply.Reply.logits`.
        """
        some, names = list(swaps.values()), list(swaps)
        base = torch.cat([s.base.float() for s in some])
        values = torch.cat([s.base.float() + delta for s, delta in zip(some, deltas, strict=True)], 1)
        if self.put > 1:
            base, values = base.repeat_interleave(self.put, 0), values.repeat_interleave(self.put, 1)
        patches, ends = [], np.cumsum([0, *some[0].sizes]).tolist()
        for i, place in enumerate(site.places):
            columns, part = torch.cat([s.columns[i] for s in some]), slice(ends[i], ends[i + 1])
            columns = columns.repeat_interleave(self.put, 0)
            settle = None
            if keeps and staged(engine.lm, site):
                rows = [len(s.base) for s in some]
                settle = partial(_settled, base[:, part], values[..., part], keeps, part, rows, self.put)
            patches.append(Patch(place.spot, columns, values[..., part].unflatten(2, (columns.shape[1], -1)), settle))
        return engine.patched(self.bases, patches, slice(self.rows[names[0]].start, self.rows[names[-1]].stop))

    def reply(
        self, engine: Engine, site: Site, swaps: Mapping[str, Swap], deltas: Sequence[Tensor],
        keeps: Sequence[Keep] | None = None,
    ) -> Reply:  # fmt: skip
        """The same, ready to be compared with the pairs' answers."""
        reply = self.read(self.resume(engine, site, swaps, deltas, keeps), [self.pairs[name] for name in swaps])
        return replace(reply, clean=torch.cat([self.clean[name] for name in swaps])) if self.clean else reply

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
        tokens = self.bases.prompts.width - min(int(self.columns[place.position].min()) for place in site.places)
        most = min(engine.rows_at_once(place.spot, tokens, gradients) for place in site.places)
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


def values_at(
    capture: Capture, places: Sequence[Place], columns: Mapping[str, Rows], prompts: Rows, rows: Rows | None = None
) -> list[Tensor]:
    """What each place has, (rows, n·size). columns: of the prompts' positions; prompts: which of them the rows are; rows: of
    the capture, in order."""
    at = None if rows is None else torch.from_numpy(rows)
    return [capture.at(p.spot, torch.from_numpy(columns[p.position][prompts]), at).flatten(1) for p in places]


def _settled(
    base: Tensor, values: Tensor, keeps: Sequence[Keep], part: slice, rows: Sequence[int], put: int, come: Tensor
) -> Tensor:
    """What a place gets where earlier changes have moved it. base: (rows · put, entries); values: the same with its own change,
    (copies, rows · put, entries); rows: of each hypothesis; come: (copies, rows · put, n, size)."""
    moved = (come.flatten(2) - base).unflatten(1, (-1, put))
    kept = [
        torch.cat([k(part, e) for k, e in zip(keeps, each.split(list(rows), 1), strict=True)], 1) for each in moved.unbind(2)
    ]
    return (values + torch.stack(kept, 2).flatten(1, 2)).view_as(come)


def batches(
    data: Dataset, captures: Captures, drawn: Mapping[str, Rows], rows: int, roles: Sequence[str] = ("label",),
    matched: bool = False,
) -> Iterator[tuple[float, Batch]]:  # fmt: skip
    """The drawn pairs of each hypothesis, `rows` of them at once, with the share that is done thereafter."""
    longest = max(map(len, drawn.values()), default=0)
    for start in range(0, longest, rows):
        some = {name: chosen[start : start + rows] for name, chosen in drawn.items() if start < len(chosen)}
        yield min(1.0, (start + rows) / longest), Batch.capture(data, captures, some, roles, matched)


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
