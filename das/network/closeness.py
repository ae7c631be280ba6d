"""Closeness: by how much answers differ, and may."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EXACT, ROUNDED = 1e-4, {torch.float16: 0.05, torch.bfloat16: 0.1}
"""By how much answers may differ, relative to the largest logit. Rounding alone makes .03 in bfloat16 at 32 layers of width
2,048 with random weights, and more in wider ones."""


NOTHING = 1e-6
"""Logits that are all smaller say nothing: they are what rounding has left of a sum that cancels."""


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value expected (of logits, `NOTHING` at least); infinite where it is no
    number."""
    error = float((found - expected).abs().max() / expected.abs().max().clamp(min=NOTHING))
    return error if error == error else float("inf")


def tolerance(model: nn.Module) -> float:
    """By how much a network's answers may differ, by its dtype."""
    return ROUNDED.get(next(model.parameters(), torch.zeros(())).dtype, EXACT)
