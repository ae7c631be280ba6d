"""Decoding: how well a variable's value can be read from a subspace by a simple rule, on prompts that the rule has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.causal.columns import Column, codes
from das.judge.verdict import LEGIBLE
from das.pairs.dataset import Rows

FEW = 8
"""Up to this many distinct values are told apart as they are; of more numbers, their quarters."""

RIDGE = 1e-2
"""Relative to the mean squared size of a coordinate."""

DEALS = 3

EACH = 10
"""Rows that a value's mean is fitted to, at least."""


def classes(fit: Column, test: Column) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """A variable's values on two sets of prompts as classes, one pair of arrays per component of a vector: the values where
    they are few, the quarters of `fit`'s numbers where they are many; none for many values that are no numbers."""
    if fit.ndim > 1:
        return [found for i in range(fit.shape[1]) for found in classes(fit[:, i], test[:, i])]
    both = codes(np.concatenate([fit, test]))
    if both.max() < FEW:
        return [(both[: len(fit)], both[len(fit) :])]
    if fit.dtype.kind not in "iuf":
        return []
    edges = np.quantile(fit, [0.25, 0.5, 0.75])
    return [(np.searchsorted(edges, fit), np.searchsorted(edges, test))]


def decoded(fit: Tensor, test: Tensor, values: Column, test_values: Column) -> tuple[float, float] | None:
    """Held-out accuracy of the variable's class from coordinates (rows, k), and that of always saying the commonest class.

    By ridge regression on class indicators, a mean over a vector's components. Where that reads little, since a code may
    be simple without being linear in such classes (a circle's), by the nearest of the values' means, if that reads more. None
    where there are neither classes nor values enough.
    """
    found = [_scored(_accuracy, fit, test, own, held) for own, held in classes(values, test_values)]
    best = tuple(np.mean(found, axis=0).tolist()) if found else None
    if best is not None and gain(*best) >= LEGIBLE:
        return best
    nearest = _by_value(fit, test, values, test_values)
    return max((rule for rule in (best, nearest) if rule), key=lambda rule: gain(*rule), default=None)


def arbitrary(fit: Tensor, test: Tensor, values: Column, prompts: Rows, test_prompts: Rows) -> float | None:
    """Held-out accuracy of arbitrary values from the same coordinates, by the same rules: every prompt is dealt the value that
    some prompt of `values` has, whatever it says (a control task, Hewitt & Liang 2019, arXiv 1909.03368); a mean over `DEALS`
    deals. What is read beyond that is not what the rule could learn by heart. prompts: which prompt each row is. None as of
    `decoded`."""
    found = []
    for deal in range(DEALS):
        own, held = (_dealt(values, rows, [deal, split]) for split, rows in enumerate((prompts, test_prompts)))
        if rule := decoded(fit, test, own, held):
            found.append(rule[0])
    return float(np.mean(found)) if found else None


def _dealt(values: Column, prompts: Rows, seed: Sequence[int]) -> Column:
    """A value for each row, the same for rows that are one prompt."""
    each, place = np.unique(prompts, return_inverse=True)
    return values[np.random.default_rng(seed).integers(0, len(values), len(each))[place.reshape(-1)]]


def gain(accuracy: float, commonest: float) -> float:
    """How far an accuracy lies on the way from the commonest class to 1."""
    return (accuracy - commonest) / (1 - commonest) if commonest < 1 else 0.0


def _by_value(fit: Tensor, test: Tensor, values: Column, test_values: Column) -> tuple[float, float] | None:
    """By the nearest mean; None where there are fewer than `EACH` rows to fit per value."""
    both = codes(np.concatenate([values, test_values]))
    own, held = both[: len(fit)], both[len(fit) :]
    if EACH * (both.max() + 1) > len(fit):
        return None
    return _scored(_nearest, fit, test, own, held)


Rule = Callable[[Tensor, Tensor, NDArray[np.int64], NDArray[np.int64]], float]


def _scored(rule: Rule, fit: Tensor, test: Tensor, own: NDArray[np.int64], held: NDArray[np.int64]) -> tuple[float, float]:
    return rule(fit, test, own, held), float(np.bincount(held).max() / len(held))


def _accuracy(fit: Tensor, test: Tensor, own: NDArray[np.int64], held: NDArray[np.int64]) -> float:
    x, z = (torch.nn.functional.pad(rows, (0, 1), value=1.0) for rows in _scaled(fit, test))
    indicators = torch.nn.functional.one_hot(torch.from_numpy(own), int(max(own.max(), held.max())) + 1).double()
    guess = (z @ torch.linalg.solve(_gram(x), x.T @ indicators)).argmax(1)
    return float((guess == torch.from_numpy(held)).double().mean())


def _nearest(fit: Tensor, test: Tensor, own: NDArray[np.int64], held: NDArray[np.int64]) -> float:
    """The value whose mean is nearest, where distances count by what rows of one value vary (Fisher's discriminant)."""
    x, z = _scaled(fit, test)
    index, count = torch.from_numpy(own), torch.from_numpy(np.bincount(own, minlength=held.max() + 1)).double()
    means = torch.zeros(len(count), x.shape[1], dtype=torch.double).index_add_(0, index, x) / count.clamp(min=1)[:, None]
    half = torch.linalg.cholesky(_gram(x - means[index]) / len(x))
    x, z = (torch.linalg.solve_triangular(half, rows.T, upper=False).T for rows in (means, z))
    distance = torch.cdist(z, x).masked_fill(count == 0, torch.inf)
    return float((distance.argmin(1) == torch.from_numpy(held)).double().mean())


def _scaled(fit: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both, in units of how the first varies."""
    mean, spread = fit.mean(0), fit.std(0).clamp(min=1e-6)
    return ((fit - mean) / spread).double(), ((test - mean) / spread).double()


def _gram(x: Tensor) -> Tensor:
    """(k, k), with the ridge on its diagonal."""
    gram: Tensor = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.double)
    return gram
