"""Statistics: intervals, paired comparisons, and how far a score lies above a null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

Floats = NDArray[np.floating[Any]]

LEVEL = 0.95
"""Of every interval."""

FEW = 10
"""Up to so many failures (or hits) do not show how they recur."""

SMALLEST = 1e-12
"""p-value."""


@dataclass(frozen=True)
class Difference:
    """One score less another on the same pairs: mean, 95 % interval, two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f}, p = {self.p:.3f})"


class Bootstrap:
    """What the mean of hits is known to within, where pairs share prompts and seeds are few.

    prompts: each pair's base prompt, (pairs,), or its base and each source's, (ways, pairs); equal numbers are the same prompt,
    and a prompt that a pair has twice counts once.
    Hits are (pairs,) or (seeds, pairs). Intervals are of the population that the prompts and the seeds were drawn from, not of
    this pool. They come from the variance that is robust to clusters in several ways at once (Cameron, Gelbach and Miller 2011;
    for a prompt in two roles Aronow, Samii and Assenova 2015), corrected for few clusters, with seeds as a random effect and
    Student's t (see `Parts`). `by_row` and `means` are draws for what is no mean: base and source prompts are each drawn with
    replacement (the pigeonhole bootstrap, Owen 2007).
    """

    def __init__(self, prompts: NDArray[np.int64], draws: int = 2000, seed: int = 0) -> None:
        ways = np.atleast_2d(prompts)
        new: NDArray[np.bool_] = np.stack([np.all(ways[:i] != ways[i], axis=0) for i in range(len(ways))])
        some = new.any(axis=1)
        ways, self._new = ways[some], new[some]
        self._code: NDArray[np.int64] = np.unique(ways, return_inverse=True)[1].reshape(ways.shape)
        self._draws, self._seed = draws, seed

    # --- draws ---

    @cached_property
    def _weights(self) -> Floats:
        """(draws, pairs): how often each pair is drawn, the product of how often its prompts are."""
        rng = np.random.default_rng(self._seed)
        weights: Floats = np.ones((self._draws, len(self._code[0])), np.float32)
        for way, new in zip(self._code, self._new, strict=True):
            code = np.unique(way[new], return_inverse=True)[1]
            n = int(code.max()) + 1
            weights[:, new] *= rng.multinomial(n, np.full(n, 1 / n), size=self._draws).astype(np.float32)[:, code]
        return weights

    def by_row(self, hits: NDArray[Any]) -> Floats:
        """The mean of every row of hits in every draw. hits: (rows, pairs). (draws, rows)"""
        weights = self._weights
        means: Floats = (weights @ hits.T.astype(np.float32)) / np.maximum(weights.sum(1), 1e-9)[:, None]
        return means

    def means(self, hits: NDArray[Any]) -> Floats:
        """The mean of the hits in every draw. (draws,)"""
        hits = np.atleast_2d(hits)
        by_seed = self.by_row(hits)
        rng, seeds = np.random.default_rng(self._seed + 1), len(hits)
        share = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=self._draws) / seeds
        mean: Floats = (by_seed * share).sum(1)
        return mean

    # --- variances ---

    @cached_property
    def _clusters(self) -> Floats:
        """In each way, how many prompts the pairs are worth (Kish): fewer where some recur more than others. (ways,)"""
        recur = np.array([(np.bincount(way, new) ** 2).sum() for way, new in zip(self._code, self._new, strict=True)])
        effective: Floats = np.maximum(self._new.sum(1) ** 2 / recur, 1.5)
        return effective

    def _parts(self, mean: Floats) -> list[Part]:
        """The variance of the mean over pairs, by what it is due to. mean: (pairs,), over seeds."""
        rest, n = mean - mean.mean(), len(mean)
        prompts, each = int(self._code.max()) + 1, zip(self._code, self._new, strict=True)
        total = np.stack([np.bincount(way, rest * new, minlength=prompts) for way, new in each]) / n
        few = self._clusters / (self._clusters - 1)
        ways, alone = (total**2).sum(1) * few, float((rest**2).sum()) / n**2
        both = max(0.0, float((total.sum(0) ** 2).sum() - (total**2).sum()))
        least = max(float(ways.max()), alone)
        again = float(((self._new.sum(0) - 1) * rest**2).sum()) / n**2
        whole = max(float(ways.sum()) + both - again, least)
        share = whole / max(float(ways.sum()), 1e-300)
        return [Part(float(v) * share, float(g) - 1) for v, g in zip(ways, self._clusters, strict=True)]

    def interval(self, hits: NDArray[Any]) -> tuple[float, float]:
        """The 95 % interval of the mean of the hits: Wilson's (1927), for as many independent pairs as the variance says.

        Near 0 and 1 the few failures do not show whether they recur by prompt: one more is taken to recur wholly.
        """
        hits = np.atleast_2d(hits).astype(float)
        mean, n = float(hits.mean()), hits.shape[1]
        found = Parts([*self._parts(hits.mean(0)), *_between([hits])])
        binomial, seen = mean * (1 - mean) / n, n * min(mean, 1 - mean)
        effect = max(found.variance / binomial, 1 / len(hits)) if binomial > 1e-12 else 1.0
        recurring = n / float(self._clusters.min())
        size = n / max((seen * effect + recurring) / (seen + 1), effect if seen > FEW else 0)
        return wilson(mean, size, found.quantile(LEVEL))

    def difference(self, hits: NDArray[Any], other: NDArray[Any]) -> Difference:
        """Of two scores on the same pairs."""
        one, two = np.atleast_2d(hits).astype(float), np.atleast_2d(other).astype(float)
        apart, mean = one.mean(0) - two.mean(0), float(one.mean() - two.mean())
        found = Parts([*self._parts(apart), *_between([one, two])])
        error = max(float(np.sqrt(found.variance)), 1 / len(apart))
        reach = found.quantile(LEVEL) * error
        return Difference(mean, mean - reach, mean + reach, found.p(mean / error))


@dataclass(frozen=True)
class Part:
    """A part of a variance, and the degrees of freedom that it is estimated with."""

    variance: float
    freedom: float


class Parts:
    """The parts of the variance of a mean, and how many of its standard errors an interval reaches to either side.

    That is the root mean square of each part's own quantile of Student's t, weighted by variance (Banerjee 1960), which holds
    at least as often as it says. Satterthwaite's degrees of freedom do not, where few seeds happen to agree.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        each = np.array([part.variance for part in parts])
        self.variance, self._freedom = float(each.sum()), np.array([part.freedom for part in parts])
        self._weights = each / self.variance if self.variance > 0 else np.full(len(parts), 1 / len(parts))

    def quantile(self, level: float) -> float:
        """Of an interval that is to hold so often."""
        return float(np.sqrt(self._weights @ stdtrit(self._freedom, (1 + level) / 2) ** 2))

    def p(self, errors: float) -> float:
        """The two-sided p-value of a mean so many standard errors from 0: 1 − the level of the interval that ends there."""
        if abs(errors) >= self.quantile(1 - SMALLEST):
            return SMALLEST
        return float(brentq(lambda p: self.quantile(1 - p) - abs(errors), SMALLEST, 1))


def _between(scores: Sequence[NDArray[Any]]) -> list[Part]:
    """The variance of the sum of the scores' means over seeds, from how far the seeds of each lie apart, with Welch's (1947)
    degrees of freedom; none of one seed. Each (seeds, pairs)."""
    seeded = [hits for hits in scores if len(hits) > 1]
    each = np.array([hits.mean(1).var(ddof=1) / len(hits) for hits in seeded])
    whole, spread = float(each.sum()), float(sum(each**2 / [len(hits) - 1 for hits in seeded]))
    return [Part(whole, whole**2 / spread)] if spread > 0 else []


def wilson(mean: float, size: float, reach: float) -> tuple[float, float]:
    """Wilson's interval of a share of `size` independent trials; reach: its quantile, 1.96 for 95 % of many."""
    extra = reach**2 / size
    middle, half = (mean + extra / 2) / (1 + extra), reach * np.sqrt(mean * (1 - mean) / size + extra / size / 4) / (1 + extra)
    return min(mean, max(0.0, float(middle - half))), max(mean, min(1.0, float(middle + half)))


def correlation(one: Floats, other: Floats) -> Floats:
    """Pearson's, along the last axis; nan where one does not vary."""
    a, b = (x - x.mean(-1, keepdims=True) for x in (one, other))
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    r: Floats = np.divide((a * b).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 1e-12)
    return r


def quantiles(drawn: Floats) -> tuple[float, float]:
    """The 95 % interval of what was drawn, leaving out what is not defined; nan where nothing is."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


TAIL, KNOWN, NORMAL = 8, 3, 0.8
"""Of the null's tail: the lightest that it may be, as the shape of Pareto's law; what the pairs' own noise adds to that; the
mean excess of a normal law over its median, in standard deviations."""


@dataclass(frozen=True)
class Null:
    """What cells score by luck, as a law with a tail fitted to cells that were searched where nothing is to be found.

    A search picks the best, so what it scores by luck is skewed. Above the median, scores are taken to fall off exponentially,
    as the maxima of all but heavy-tailed laws do (Gumbel's domain); the prediction of a further one, when the rate is known
    from few scores alone, is Pareto's (Lomax's) law, which is heavier. Cells are taken to be alike. Measured in
    `benchmarks/calibration.py`: also where it is too mild (a lognormal law as skewed as sigma 1).

    scores: validation IIA of those cells. cells: how many cells the real search had to choose its best from. pairs: how many
    pairs a score is of; it cannot be known better than these allow, even if all cells happen to agree.
    """

    scores: tuple[float, ...]
    cells: int
    pairs: int

    @property
    def _middle(self) -> float:
        return float(np.median(self.scores))

    @property
    def _shape(self) -> int:
        """How many scores above the median the scale is known from, and how many the noise of so many pairs is worth, which is
        known beforehand; no more are trusted than `TAIL`."""
        return min(len(self.scores) // 2 + KNOWN, TAIL)

    @property
    def _scale(self) -> float:
        """The mean excess over the median, no less than that of a normal law of the scores' spread or of the pairs' number; a
        little larger where scores are few."""
        scores, mean = np.array(self.scores), float(np.mean(self.scores))
        excess = float(np.maximum(scores - self._middle, 0).sum() / max(1, len(scores) // 2))
        sampling = float(np.sqrt(max(mean * (1 - mean), 1 / self.pairs) / self.pairs))
        spread = float(np.std(scores, ddof=min(1, len(scores) - 1)))
        return max(excess, NORMAL * spread, NORMAL * sampling) * float(1 + 0.5 / np.sqrt(len(scores)))

    def p(self, score: float) -> float:
        """How probable it is that the best of the grid's cells scores as much: Šidák's correction over cells."""
        excess = max(0.0, score - self._middle)
        one = 0.5 * float((1 + excess / (self._shape * self._scale)) ** -self._shape) if excess else 1.0
        return float(-np.expm1(self.cells * np.log1p(-min(one, 1 - 1e-12))))

    def quantile(self, q: float) -> float:
        """Of the grid's maximum."""
        one = -np.expm1(np.log(q) / self.cells)
        return self._middle + self._shape * self._scale * max(0.0, float((2 * one) ** (-1 / self._shape)) - 1)
