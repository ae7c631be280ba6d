"""Pairs: base and source prompts with the answers that the causal model gives, sampled and split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, codes, concat, differ, same_length, take
from das.causal.domains import TRUTHS, parameters, truths
from das.causal.model import CausalModel
from das.causal.rivals import least
from das.errors import DasError, called, shown, unknown
from das.ground.checks import number, whole
from das.task.task import Hypothesis

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

BALANCED_ANSWERS = 10
"""Up to this many distinct answers, base prompts are drawn in equal numbers per answer; beyond, as they come."""

LEAST = 2
"""Prompts in a split: with one alone there is no pair."""


@dataclass(frozen=True)
class Family:
    """A rule that pairs must follow.

    accept: `accept(base_answer, answer)`, columns → which candidates to take (`answer` is the counterfactual one).
    alone: the source differs from the base in the aligned variable and in nothing that does not cause or follow from it.
    base, source: predicates over variables, by parameter name, that the base's or the source's setting must meet.
    balanced: bases in equal numbers per answer, where there are few answers; else as the prompts come.
    isolating: the swap keeps the answer, and a swap of some other variable by the same source would change it.
    apart: of many such pairs, those that tell the hypothesis from its rivals (see `das.causal.rivals.least`).
    """

    accept: Callable[[Column, Column], Mask] | None = None
    alone: bool = False
    base: Callable[..., Any] | None = None
    source: Callable[..., Any] | None = None
    balanced: bool = True
    isolating: bool = False
    apart: bool = False


FAMILIES: dict[str, Family] = {
    "resample": Family(),
    "flip": Family(accept=differ),
    "keep": Family(accept=lambda base, answer: ~differ(base, answer)),
    "only": Family(alone=True),
    "isolate": Family(accept=lambda base, answer: ~differ(base, answer), isolating=True),
    "natural": Family(balanced=False),
    "separate": Family(apart=True),
}
"""Sources drawn freely; so that the answer flips; so that it stays; so that only the aligned variable changes; so that it
stays though another variable would change it; base and source both as the prompts come; pairs that tell the hypothesis from
its rivals.

`{flip: 0.5, isolate: 0.5}` trains for cause and isolation at once, as RAVEL's multi-task DAS does (arXiv 2402.17700)."""


def match(base: Callable[..., Any] | None = None, source: Callable[..., Any] | None = None) -> Family:
    """The family of pairs whose base and source lie in given regions, each a function of variables by parameter name."""
    return Family(base=base, source=source)


@dataclass
class Pairs:
    """Labelled pairs for one hypothesis, row by row.

    base: input columns; sources: aligned variable → input columns of its source. Where `swapped[:, i]` is False, variable
    i keeps its value: its source is the base itself. answer: the counterfactual; source_answer: of the first swapped source.
    classes: (variables, pairs), numbers that are equal where an aligned variable has equal values in the base.
    """

    base: Columns
    sources: dict[str, Columns]
    base_answer: Column
    source_answer: Column
    answer: Column
    swapped: Mask
    family: Column = field(repr=False)
    classes: Rows | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.answer)

    @property
    def flips(self) -> Mask:
        """Pairs whose counterfactual answer differs from the base answer."""
        return differ(self.base_answer, self.answer)

    def columns(self) -> Columns:
        """One flat table: `base.x`, `source.variable.x`, answers, family."""
        table = {f"base.{name}": column for name, column in self.base.items()}
        for variable, source in self.sources.items():
            table |= {f"source.{variable}.{name}": column for name, column in source.items()}
        answers = {"base_answer": self.base_answer, "source_answer": self.source_answer, "answer": self.answer}
        return table | answers | {"family": self.family}


def split_pools(
    model: CausalModel, sizes: Mapping[str, int], rng: np.random.Generator, accept: Callable[[Columns], Mask] | None = None,
    identity: Callable[[Columns], Rows] | None = None,
) -> dict[str, Columns]:  # fmt: skip
    """Distinct prompts, cut into splits before anything is paired, so that no prompt is in two of them.

    sizes: split → how many prompts; where the task has fewer, all are cut in the same proportions.
    accept: keeps the prompts that it marks, for instance those that the network answers correctly.
    identity: a number for each setting, equal for settings that are one prompt (see `das.task.identity`); by default of its
    values.
    """
    wanted, pool = sum(sizes.values()), _Pool(accept, identity or (lambda table: codes(*table.values())))
    if model.size is not None and model.size <= 2 * wanted:
        table = model.enumerate()
        pool.add(take(table, rng.permutation(same_length(table))))
    else:
        for _ in range(20):
            if not pool.add(model.sample(rng, wanted)) or same_length(pool.accepted) >= wanted:
                break
    n = same_length(pool.accepted)
    cuts = np.cumsum([size * min(n, wanted) // wanted for size in sizes.values()])
    pools = {name: take(pool.accepted, rows) for name, rows in zip(sizes, np.split(np.arange(n), cuts), strict=False)}
    for name, some in pools.items():
        if same_length(some) < LEAST:
            raise DasError(f"split {name!r} has fewer than two prompts: the task has {n} that can be used. {_help(n, sizes)}")
    return pools


def _help(n: int, sizes: Mapping[str, int]) -> str:
    """What would give each split its two prompts."""
    least = LEAST * len(sizes)
    if n < least:
        return f"It takes {least} at the least, two in each split: let the prompt say more (another input, other words)"
    shares = {split: 1 if n < 8 or split != "train" else 2 for split in sizes}
    found = ", ".join(f"{split}_pairs {64 * share}" for split, share in shares.items())
    return f"They are cut as the sizes are: give, for instance, {found}"


class _Pool:
    """Prompts, each of them once: all that were seen, and those of them that are accepted."""

    def __init__(self, accept: Callable[[Columns], Mask] | None, identity: Callable[[Columns], Rows]) -> None:
        self.accept, self.identity = accept, identity
        self.seen: Columns = {}
        self.accepted: Columns = {}

    def add(self, drawn: Columns) -> int:
        """Adds those that are new; how many they are."""
        before, table = same_length(self.seen), concat([self.seen, drawn]) if self.seen else drawn
        first = np.unique(self.identity(table), return_index=True)[1]
        self.seen = take(table, np.sort(first))
        new = take(self.seen, np.arange(before, same_length(self.seen)))
        kept = take(new, np.flatnonzero(self.accept(new))) if self.accept and same_length(new) else new
        self.accepted = concat([self.accepted, kept]) if self.accepted else kept
        return same_length(new)


def make_pairs(
    hypothesis: Hypothesis,
    pool: Columns,
    n: int,
    rng: np.random.Generator,
    families: Mapping[str, float] | Mapping[Family, float] | None = None,
    rivals: Sequence[Hypothesis] = (),
) -> Pairs:
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


def check_families(shares: Mapping[Any, float]) -> None:
    """DasError on an unknown family, or on shares that are none."""
    if not isinstance(shares, Mapping):
        raise DasError(
            f"families is {shown(shares)}: expected a mapping from family to share, such as {{flip: 0.5, keep: 0.5}}"
        )
    for key, share in shares.items():
        if not isinstance(key, Family) and key not in FAMILIES:
            raise unknown("family of pairs", key, FAMILIES)
        number(f"the share of family {shown(key)}", share, 0, above=True)


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
            classes=np.stack([codes(self.table[v])[base] for v in self.variables]),
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
        model, table = self.drawer.model, self.drawer.table
        same = [v for v in model.variables if v != variable and not _related(model, v, variable)]
        key = codes(*(table[v] for v in same)) if same else np.zeros(self.drawer.size, np.int64)
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
