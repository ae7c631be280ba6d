"""Scan: of facts about pairs, the one or the two that most of the failures go with, if that is no chance.

The gain in log-likelihood by a failure rate of its own finds it (Kulldorff 1997, A spatial scan statistic); permutations of
prompts say what chance gives among all that are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import codes

LARGEST = 0.75
"""A group holds at most this share of the pairs."""

ERROR, MORE = 0.01, 1.1
"""By how much, and how many times, two facts must explain more than one."""

PERMUTATIONS, LIKELY = 99, 0.02
"""Of prompts; the share of them that may give as much, at most."""

Facts = NDArray[np.float32]
"""Where each fact holds. (facts, pairs)"""


def worst(table: Facts, failed: NDArray[Any], smallest: float, prompts: Sequence[NDArray[np.int64]]) -> list[int]:
    """The fact or the two (rows of the table) whose pairs (columns) fail most; none where chance could have done it.

    failed: (pairs,), 0 to 1. smallest: how many pairs a group holds at least. prompts: of every role, each pair's, (pairs,).
    """
    n, size = len(failed), (table @ table.T).astype(float)
    allowed = (size >= smallest) & (size <= LARGEST * n)
    if not allowed.any() or np.ptp(failed) == 0:
        return []
    gain = np.where(allowed, gain_of(size, _together(table, failed), n, failed.sum()), 0)
    single = gain.diagonal()
    one, two = int(single.argmax()), divmod(int(np.triu(gain, 1).argmax()), len(gain))
    scale = np.where(allowed, 1 / np.sqrt(np.maximum(size * (1 - size / n), 1e-9)), 0).astype(np.float32)
    found = list(two) if gain[two] > max(single[one] * MORE, single[one] + log(len(gain) / ERROR)) else [one]
    return found if all(_stands_out(table, failed, scale, found, code) for code in prompts) else []


def _stands_out(table: Facts, failed: NDArray[Any], scale: Facts, found: list[int], prompts: NDArray[np.int64]) -> bool:
    """Whether the excess of failures in a group is larger than the largest of any group in all permutations of prompts but
    one in fifty; of one fact, than that of any one fact. scale: (facts, facts), the inverse of an excess' standard error."""
    rng, mean = np.random.default_rng(0), failed.mean()
    singles = len(found) == 1
    if singles:
        scale = scale.diagonal()

    def excess(failed: NDArray[Any]) -> Facts:
        if singles:
            return np.asarray((table @ (failed - mean).astype(np.float32)) * scale)
        return np.asarray(_together(table, failed - mean) * scale)

    own, more = float(excess(failed)[tuple(found)]), 0
    for _ in range(PERMUTATIONS):
        more += float(excess(failed[_permuted(prompts, rng)]).max()) >= own
        if (more + 1) / (PERMUTATIONS + 1) > LIKELY:
            return False
    return True


def _permuted(prompts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each pair the pair that it takes its failure from: prompts trade places, each with all its pairs, in turn."""
    prompts = codes(prompts)
    order, size = np.argsort(prompts, kind="stable"), np.bincount(prompts)
    start = np.cumsum(size) - size
    place = np.empty(len(prompts), np.int64)
    place[order] = np.arange(len(prompts)) - start[prompts[order]]
    taken = rng.permutation(len(size))[prompts]
    found: NDArray[np.int64] = order[start[taken] + place % size[taken]]
    return found


def _together(table: Facts, failed: NDArray[Any]) -> Facts:
    """The failures in each group of two facts. (facts, facts)"""
    return np.asarray((table * failed.astype(np.float32)) @ table.T)


def gain_of(size: NDArray[Any], failed: NDArray[Any], n: int, failures: float) -> NDArray[Any]:
    """Log-likelihood gained by a failure rate of its own for each group; 0 where it fails no more than the others."""

    def loss(n: Any, failed: Any) -> Any:
        parts = (n, np.maximum(failed, 0), np.maximum(n - failed, 0))
        whole, bad, good = (x * np.log(np.maximum(x, 1e-9)) for x in parts)
        return whole - bad - good

    gain = loss(n, failures) - loss(size, failed) - loss(n - size, failures - failed)
    return np.where(failed * n > failures * size, gain, 0)
