"""Drawer: pairs of pool rows, drawn by the rule of a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from das.causal.columns import Column, Columns, codes, differ, take
from das.causal.model import CausalModel
from das.causal.predicates import TRUTHS, parameters, truths
from das.errors import DasError, called, unknown
from das.ground.checks import whole
from das.pairs.families import FAMILIES, Family, Mask, check_families
from das.pairs.pairs import Pairs, Rows
from das.pairs.rivals import least
from das.task.hypothesis import Hypothesis

BALANCED_ANSWERS = 10
"""Up to this many distinct answers, base prompts are drawn in equal numbers per answer; beyond, as they come."""


def make_pairs(
    hypothesis: Hypothesis, pool: Columns, n: int, rng: np.random.Generator,
    families: Mapping[str, float] | Mapping[Family, float] | None = None, rivals: Sequence[Hypothesis] = (),
) -> Pairs:  # fmt: skip
    """`n` pairs from the prompts of a pool, labelled by the hypothesis' causal model.

    families: name in `FAMILIES` or Family → share of the pairs; by default half flip the answer and half keep it. Within a
    family bases are equally many per answer (but for `natural`); each base is drawn uniformly from those that admit such a
    pair, then its source uniformly among its fitting ones, and `separate` takes its pairs from many such. Where a family cannot
    be had for an answer, its share goes to what can be had; DasError where there is none at all.
    rivals: hypotheses that `separate` is to tell this one from; without any, other variables of its own model.
    """
    check_families({} if families is None else families)
    shares: dict[Any, float] = dict(families or {"flip": 0.5, "keep": 0.5})
    n = whole("the number of pairs", n, 1, 10**8)
    drawer = _Drawer(hypothesis, pool, rng, rivals)
    cuts = np.round(n * np.cumsum([0.0, *shares.values()]) / sum(shares.values())).astype(int)
    parts: list[_Part] = []
    for key, count in zip(shares, np.diff(cuts), strict=True):
        name, family = ("custom", key) if isinstance(key, Family) else (key, FAMILIES[key])
        parts += drawer.family(name, family, int(count))
    parts = [part for part in parts if len(part.base)]
    if not parts:
        raise DasError(f"no pair of the families {', '.join(map(str, shares))} exists among these prompts")
    return drawer.finish(parts, n)


@dataclass
class _Part:
    name: str
    family: Family
    base: Rows
    sources: Rows  # (rows, variables)
    swapped: Mask
    bases: Rows  # those that the part may draw from


class _Drawer:
    """Draws pairs of pool rows and labels them."""

    CANDIDATES, DRY = (8, 64), 5
    CHOICE, BLOCK = 16, 1024
    """Pairs that are drawn for each that is chosen apart, and how many are chosen at a time."""

    def __init__(self, hypothesis: Hypothesis, pool: Columns, rng: np.random.Generator, rivals: Sequence[Hypothesis]) -> None:
        self.model, self.variables, self.rng = hypothesis.model, hypothesis.variables, rng
        self.rivals = [rival.model for rival in rivals] or [self.model]
        self.pool, self.table = pool, self.model.run(pool)
        self.answers = self.table[self.model.output]
        self.size = len(self.answers)

    def family(self, name: str, family: Family, n: int) -> list[_Part]:
        """About `n` pairs of one family, in equal numbers per base answer where there are few answers."""
        bases = self._allowed(family.base)
        code = codes(self.answers[bases]) if len(bases) else bases
        strata = [bases[code == c] for c in range(code.max(initial=-1) + 1)]
        if len(strata) > BALANCED_ANSWERS or not family.balanced:
            strata = [bases]
        parts: list[_Part] = []
        for index, rows in enumerate(strata):
            share = n * (index + 1) // len(strata) - n * index // len(strata)
            parts.append(self._draw(name, family, rows, share))
        return parts + self._fill([part for part in parts if len(part.base)], n - sum(len(part.base) for part in parts))

    def _fill(self, parts: Sequence[_Part], short: int) -> list[_Part]:
        """`short` more pairs, in equal numbers like those of the given parts."""
        cuts = [short * i // len(parts) for i in range(len(parts) + 1)] if parts and short > 0 else []
        return [self._draw(p.name, p.family, p.bases, b - a) for p, a, b in zip(parts, cuts, cuts[1:], strict=False) if b > a]

    def _allowed(self, predicate: Callable[..., Any] | None) -> Rows:
        if predicate is None:
            return np.arange(self.size)
        for name in parameters(predicate):
            if name not in self.table:
                raise unknown("variable in a family's predicate", name, self.table)
        what, columns = "a family's predicate", [self.table[name] for name in parameters(predicate)]
        return np.flatnonzero(truths(called(what, TRUTHS, predicate, *columns), self.size, what))

    def _draw(self, name: str, family: Family, bases: Rows, n: int) -> _Part:
        """Up to `n` pairs."""
        if not family.apart:
            return _Part(name, family, *self._drawn(family, bases, n), bases)
        blocks = [self._apart(family, bases, min(self.BLOCK, n - start)) for start in range(0, max(n, 1), self.BLOCK)]
        base, source, swapped = map(np.concatenate, zip(*blocks, strict=True))
        return _Part(name, family, base, source, swapped, bases)

    def _apart(self, family: Family, bases: Rows, n: int) -> tuple[Rows, Rows, Mask]:
        """Of many pairs, up to `n` on which rivals' labels differ most from this hypothesis': base, sources, swapped."""
        base, source, swapped = self._drawn(family, bases, self.CHOICE * n)
        if len(base) <= n:
            return base, source, swapped
        sources = {v: take(self.pool, source[:, i]) for i, v in enumerate(self.variables)}
        rows = least(self.rivals, take(self.pool, base), sources, self._label(base, source), n, self.rng)
        return base[rows], source[rows], swapped[rows]

    def _drawn(self, family: Family, bases: Rows, n: int) -> tuple[Rows, Rows, Mask]:
        """Up to `n` pairs, as base, sources, swapped; every fitting base is used once before any is used again."""
        sources, k = _Sources(self, family), len(self.variables)
        found = [(np.zeros(0, np.int64), np.zeros((0, k), np.int64), np.zeros((0, k), bool))]
        queue, have, dry = self.rng.permutation(bases), 0, 0
        while have < n and len(queue) and dry < self.DRY:
            some = 2 * (n - have) + 64
            now, queue = queue[:some], queue[some:]
            ok, source, swapped = self._fit(family, sources, now)
            found.append((now[ok], source[ok], swapped[ok]))
            have, dry = have + int(ok.sum()), 0 if ok.any() else dry + 1
            if not len(queue):
                queue = self.rng.permutation(np.unique(np.concatenate([rows for rows, _, _ in found])) if have else now)
        base, source, swapped = (np.concatenate(part)[:n] for part in zip(*found, strict=True))
        return base, source, swapped

    def _fit(self, family: Family, sources: _Sources, bases: Rows) -> tuple[Mask, Rows, Mask]:
        """For each base, the first of some random candidates that fits, many where few found none: whether there is one,
        sources, swapped."""
        ok, source, swapped = self._try(family, sources, bases, self.CANDIDATES[0])
        left = np.flatnonzero(~ok)
        if len(left):
            ok[left], source[left], swapped[left] = self._try(family, sources, bases[left], self.CANDIDATES[1])
        return ok, source, swapped

    def _try(self, family: Family, sources: _Sources, bases: Rows, k: int) -> tuple[Mask, Rows, Mask]:
        """`_fit` with `k` candidates for each base."""
        base = np.repeat(bases, k)
        swapped = self._subsets(len(base))
        source = np.where(swapped, sources.draw(base), base[:, None])
        ok = sources.valid(base, source, swapped)
        if family.accept is not None:
            ok &= family.accept(self.answers[base], self._label(base, source))
        if family.isolating:
            ok &= self._moved_by_another(base, source[np.arange(len(base)), swapped.argmax(1)])
        first = ok.reshape(-1, k).argmax(1) + k * np.arange(len(bases))
        return ok[first], source[first], swapped[first]

    def _moved_by_another(self, base: Rows, source: Rows) -> Mask:
        """Where swapping one of the variables that are not aligned, short of the output, would change the answer."""
        moved = np.zeros(len(base), bool)
        bases = take(self.pool, base)
        for variable in (v for v in self.model.variables if v not in (*self.variables, self.model.output)):
            moved |= self.model.moves(bases, self.answers[base], variable, self.table[variable][source])
        return moved

    def _subsets(self, n: int) -> Mask:
        """Which variables each row swaps: a non-empty subset, all subsets equally likely."""
        v = len(self.variables)
        chosen: Mask = (self.rng.integers(1, 2**v, n)[:, None] >> np.arange(v)) & 1 == 1
        return chosen

    def _label(self, base: Rows, source: Rows) -> Column:
        values = {v: self.table[v][source[:, i]] for i, v in enumerate(self.variables)}
        return self.model.intervene(take(self.pool, base), values)[self.model.output]

    def unrelated(self, variable: str) -> Rows:
        """A number for each row of the pool that is the same where all agree that neither cause nor follow from a variable."""
        same = [v for v in self.model.variables if v != variable and not _related(self.model, v, variable)]
        return codes(*(self.table[v] for v in same)) if same else np.zeros(self.size, np.int64)

    def _differ(self, table: Columns, base: Rows, source: Rows) -> Mask:
        """(variables, rows): where a variable's source has another value in a table than the base."""
        pairs = zip(self.variables, source.T, strict=True)
        return np.stack([differ(table[v][base], table[v][at]) for v, at in pairs])

    def finish(self, parts: Sequence[_Part], n: int) -> Pairs:
        """Fills up to `n` rows, shuffles and labels."""
        every = [*parts, *self._fill(parts, n - sum(len(part.base) for part in parts))]
        base = np.concatenate([p.base for p in every])[:n]
        source = np.concatenate([p.sources for p in every])[:n]
        swapped = np.concatenate([p.swapped for p in every])[:n]
        names = np.repeat([p.name for p in every], [len(p.base) for p in every])[:n]
        order = self.rng.permutation(len(base))
        base, source, swapped = base[order], source[order], swapped[order]
        bases = take(self.pool, base)
        sources = {v: take(self.pool, source[:, i]) for i, v in enumerate(self.variables)}
        return Pairs(
            base=bases,
            sources=sources,
            base_answer=self.answers[base],
            source_answer=self.answers[source[np.arange(len(base)), swapped.argmax(1)]],
            answer=self.model.interchange(bases, sources)[self.model.output],
            swapped=swapped,
            family=names[order],
            classes=np.stack([codes(self.table[v][base]) for v in self.variables]),
            changed=self._differ(self.table, base, source),
            alone=~self._differ({v: self.unrelated(v) for v in self.variables}, base, source),
        )


class _Sources:
    """Candidate sources for bases, one per aligned variable."""

    def __init__(self, drawer: _Drawer, family: Family) -> None:
        self.drawer = drawer
        self.rows = drawer._allowed(family.source)
        if not len(self.rows):
            raise DasError("no prompt of the pool lies in the source region of the family")
        self.alone = family.alone
        self.groups = [self._group(v) for v in drawer.variables] if family.alone else []

    def _group(self, variable: str) -> tuple[Rows, Rows, Rows, Rows]:
        """Pool rows sorted so that those which agree in everything unrelated to `variable` lie together."""
        key = self.drawer.unrelated(variable)
        order = self.rows[np.argsort(key[self.rows], kind="stable")]
        sizes = np.bincount(key[self.rows], minlength=key.max(initial=0) + 1)
        return key, order, np.cumsum(sizes) - sizes, sizes

    def draw(self, base: Rows) -> Rows:
        """(rows, variables): a random candidate for each."""
        rng = self.drawer.rng
        if not self.alone:
            return self.rows[rng.integers(0, len(self.rows), (len(base), len(self.drawer.variables)))]
        drawn = []
        for key, order, start, size in self.groups:
            own = key[base]
            at = start[own] + (rng.random(len(base)) * size[own]).astype(np.int64)
            drawn.append(np.where(size[own] > 0, order[np.minimum(at, len(order) - 1)], base))
        return np.stack(drawn, 1)

    def valid(self, base: Rows, source: Rows, swapped: Mask) -> Mask:
        """Where only the variable may change, it does change."""
        ok = np.ones(len(base), bool)
        if self.alone:
            for i, variable in enumerate(self.drawer.variables):
                code = codes(self.drawer.table[variable])
                ok &= ~swapped[:, i] | (code[base] != code[source[:, i]])
        return ok


def _related(model: CausalModel, a: str, b: str) -> bool:
    """Whether one of two variables is an ancestor of the other."""
    return a in model.causes(b) or b in model.causes(a)
