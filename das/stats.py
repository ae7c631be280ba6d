"""Statistics: intervals, paired comparisons, and how far a score lies above a null."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.floating[Any]]

LEVEL = 0.95
"""Of every interval."""


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
    """Draws of base prompts with replacement, the same for everything that was scored on the same pairs.

    base: (pairs,), each pair's base prompt. Hits are (pairs,) or (seeds, pairs); seeds are drawn anew as well.
    """

    def __init__(self, base: NDArray[np.int64], draws: int = 2000, seed: int = 0) -> None:
        self._code = np.unique(base, return_inverse=True)[1]
        self._draws, self._seed = draws, seed

    @cached_property
    def _weights(self) -> Floats:
        """(draws, bases): how often each base prompt is drawn."""
        n = int(self._code.max()) + 1
        drawn = np.random.default_rng(self._seed).multinomial(n, np.full(n, 1 / n), size=self._draws)
        return drawn.astype(np.float32)

    def by_row(self, hits: NDArray[Any]) -> Floats:
        """The mean of every row of hits in every draw. hits: (rows, pairs). (draws, rows)"""
        total = np.stack([np.bincount(self._code, row.astype(float)) for row in hits], 1)
        means: Floats = (self._weights @ total) / (self._weights @ np.bincount(self._code))[:, None]
        return means

    def means(self, hits: NDArray[Any]) -> Floats:
        """The mean of the hits in every draw. (draws,)"""
        hits = np.atleast_2d(hits)
        by_seed = self.by_row(hits)
        rng, seeds = np.random.default_rng(self._seed + 1), len(hits)
        share = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=self._draws) / seeds
        mean: Floats = (by_seed * share).sum(1)
        return mean

    def interval(self, hits: NDArray[Any]) -> tuple[float, float]:
        """The 95 % interval of the mean of the hits."""
        return quantiles(self.means(hits))

    def difference(self, hits: NDArray[Any], other: NDArray[Any]) -> Difference:
        """Of two scores on the same pairs."""
        drawn = self.means(hits) - self.means(other)
        tail = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
        return Difference(float(np.mean(hits) - np.mean(other)), *quantiles(drawn), min(1.0, 2 * max(tail, 1 / len(drawn))))


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


@dataclass(frozen=True)
class Null:
    """What cells score by luck, as a normal law fitted to cells that were searched where there is nothing to be found.

    scores: validation IIA of those cells. cells: how many cells the real search had to choose its best from. pairs: how many
    pairs a score is of; it cannot be known better than these allow, even if all cells happen to agree.
    """

    scores: tuple[float, ...]
    cells: int
    pairs: int

    @property
    def _law(self) -> Any:
        """The prediction of one more such cell: Student's t, since mean and spread are themselves estimates."""
        n, mean = len(self.scores), float(np.mean(self.scores))
        sampling = np.sqrt(max(mean * (1 - mean), 1 / self.pairs) / self.pairs)
        spread = max(float(np.std(self.scores, ddof=1)), sampling)
        return student(n - 1, mean, spread * np.sqrt(1 + 1 / n))

    def p(self, score: float) -> float:
        """How probable it is that the best of the grid's cells scores as much: Šidák's correction over cells."""
        return float(-np.expm1(self.cells * self._law.logcdf(score)))

    def quantile(self, q: float) -> float:
        """Of the grid's maximum."""
        return float(self._law.ppf(q ** (1 / self.cells)))
