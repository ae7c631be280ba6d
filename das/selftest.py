"""Which engine: `ResumeEngine` where it gives a network's own answers, as tried on that network; else `HookEngine`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from das.engine import Engine, HookEngine, ResumeEngine
from das.errors import DasError
from das.lm import LM
from das.prompt import Encoded

EXACT, ROUNDED = 1e-4, {torch.float16: 0.05, torch.bfloat16: 0.1}
"""By how much an engine may differ from full forwards, relative to the largest logit (see `self_test`). Rounding alone makes
.03 in bfloat16 at 32 layers of width 2,048 with random weights, and more in wider ones."""


@torch.no_grad()
def self_test(
    lm: LM, engine: type[ResumeEngine] | type[HookEngine] = ResumeEngine, components: Sequence[str] = ("block_output",),
    prefix: Any = (1, 2), length: int = 9,
) -> float:  # fmt: skip
    """Largest relative difference between `engine` and the full patched forward, on random prompts of `length` and a little
    fewer tokens that begin with `prefix`, with patches at several places, in every third layer.

    Try it with the length and prefix in use: windows, chunks and position scaling show only in long prompts.
    """
    prefix = np.asarray(prefix, np.int64)
    prompts = _some_prompts(lm, prefix, max(length, len(prefix) + 7))
    layers = sorted({*range(0, lm.layers, 3), lm.layers - 1})
    spots = [(component, layer) for component in components for layer in layers]
    reference, candidate = HookEngine(lm), engine(lm, prefix)
    width = prompts.ids.shape[1]
    clean, capture = reference.capture(prompts, spots), candidate.capture(prompts, spots, first=width - 6)
    worst = 0.0
    for spot in spots:
        columns = width - torch.tensor([[5, 4], [3, 2], [2, 1]])
        size = clean.vectors[spot].shape[-1]
        copies = 2 if spot is spots[0] else 1  # full forwards of a large network take long
        values = torch.randn(copies, 3, 2, size, generator=torch.Generator().manual_seed(spot[1])).to(lm.device)
        values = values * clean.vectors[spot].float().std()
        expected = reference.resume(clean, spot, columns, values)
        found = candidate.resume(capture, spot, columns, values)
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    return worst


def _some_prompts(lm: LM, prefix: Any, width: int) -> Encoded:
    """Three random prompts of `width` and two fewer tokens that begin with the prefix."""
    network: Any = lm.model
    lengths = np.array([width, max(width - 2, len(prefix) + 1), width])
    ids = np.random.default_rng(0).integers(0, network.get_input_embeddings().weight.shape[0], (3, width))
    for row, length in enumerate(lengths):
        ids[row, : width - length] = 0
        ids[row, width - length :][: len(prefix)] = prefix
    return Encoded(ids, lengths)


def _resumable(lm: LM, components: Sequence[str]) -> bool:
    """Whether every component lies within its own layer."""
    if not len(lm.blocks):
        return False
    taps = [(layer, lm.tap(component, layer).module) for component in components for layer in range(lm.layers)]
    return all(any(module is m for m in lm.blocks[layer].modules()) for layer, module in taps)


def make_engine(lm: LM, prefix: Any = None, components: Sequence[str] | None = None, length: int = 9) -> Engine:
    """The fastest engine that gives this network's exact answers to prompts of up to `length` tokens; DasError where not
    even a full forward can be patched. A module that is no Hugging Face network gets full forwards untried, since nothing
    says what it takes. components: what is to be swapped; by default block outputs, where there are blocks."""
    if components is None and not len(lm.blocks):
        return HookEngine(lm)
    components = ("block_output",) if components is None else components
    if not hasattr(lm.model, "config"):
        for component in components:
            lm.tap(component, 0)
        return HookEngine(lm)
    trial = (1, 2) if prefix is None or not len(prefix) else prefix
    most = ROUNDED.get(lm.dtype, EXACT)
    try:
        if _resumable(lm, components) and self_test(lm, ResumeEngine, components, trial, length) <= most:
            return ResumeEngine(lm, prefix)
    except (TypeError, AttributeError, RuntimeError, KeyError, IndexError, ValueError, AssertionError):
        pass
    try:
        self_test(lm, HookEngine, components)
    except DasError:
        raise
    except Exception as error:
        raise DasError(f"{type(lm.model).__name__} cannot be patched ({type(error).__name__}: {error})") from error
    return HookEngine(lm)
