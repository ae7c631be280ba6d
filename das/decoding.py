"""Decoding: how well a variable's value can be read from a subspace by a linear rule, on prompts that the rule has not seen."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.columns import Column, codes

FEW = 8
"""Up to this many distinct values are told apart as they are; of more numbers, their quarters."""

RIDGE = 1e-2
"""Relative to the mean squared size of a coordinate."""


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
    """Held-out accuracy of the variable's class from coordinates (rows, k), by ridge regression on class indicators, and that
    of always saying the commonest class; means over a vector's components. None where there are no classes."""
    found = [
        (_accuracy(fit, test, own, held), float(np.bincount(held).max() / len(held)))
        for own, held in classes(values, test_values)
    ]
    if not found:
        return None
    accuracy, commonest = np.mean(found, axis=0).tolist()
    return accuracy, commonest


def _accuracy(fit: Tensor, test: Tensor, own: NDArray[np.int64], held: NDArray[np.int64]) -> float:
    mean, spread = fit.mean(0), fit.std(0).clamp(min=1e-6)
    x, z = (torch.nn.functional.pad((rows - mean) / spread, (0, 1), value=1.0).double() for rows in (fit, test))
    indicators = torch.nn.functional.one_hot(torch.from_numpy(own), int(max(own.max(), held.max())) + 1).double()
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.double)
    guess = (z @ torch.linalg.solve(gram, x.T @ indicators)).argmax(1)
    return float((guess == torch.from_numpy(held)).double().mean())
