"""Linear probes: the directions by which a variable's values are told apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from das.find.directions import Direction, Seen, principal

ITERATIONS = 200
"""Most steps of L-BFGS; it stops before where the loss no longer falls."""


@dataclass(frozen=True)
class Probe(Direction):
    """Per variable the principal directions of the weights of a linear classifier of its values (Alain and Bengio 2016,
    arXiv 1610.01644), at most k and one less than it has values.

    logistic: multinomial regression, else ridge regression onto indicators of the values. l2: what large weights cost, where
    activations are scaled to mean square 1: l2/2 times their sum of squares beside the mean loss of a prompt.
    """

    by_value = True

    k: int = 8
    l2: float = 0.01
    logistic: bool = True
    tolerance: float = 0.02

    def columns(self, seen: Seen) -> list[Tensor]:
        rows = seen.centred / seen.centred.square().mean().sqrt().clamp(min=1e-12)
        fit = logistic_weights if self.logistic else ridge_weights
        return [principal(fit(rows, own, self.l2), min(self.k, int(own.max()))) for own in seen.each_value(self)]


def ridge_weights(rows: Tensor, values: Tensor, l2: float) -> Tensor:
    """Weights (values, d) that give indicators of the values with the least squares. rows: (n, d), centred."""
    wanted, n = one_hot(values).float(), len(rows)
    wanted = wanted - wanted.mean(0)
    left, singular, right = torch.linalg.svd(rows, full_matrices=False)
    shrunk = singular / (singular.square() + n * l2)
    weights: Tensor = wanted.T @ (left * shrunk) @ right
    return weights


def logistic_weights(rows: Tensor, values: Tensor, l2: float) -> Tensor:
    """Weights (values, d) of multinomial regression."""
    weights = torch.zeros(int(values.max()) + 1, rows.shape[1], requires_grad=True)
    offsets = torch.zeros(len(weights), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, offsets], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = cross_entropy(rows @ weights.T + offsets, values) + l2 / 2 * weights.square().sum()
        found.backward()
        return found

    with torch.enable_grad():
        optimizer.step(loss)
    return weights.detach()
