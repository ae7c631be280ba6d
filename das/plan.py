"""What an experiment will cost, before weights are loaded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from das.experiment import POOL, Experiment
from das.lm import load_config


@dataclass(frozen=True)
class Plan:
    """Counts and estimates for one experiment.

    cells: in the grid and added at the chosen ones. tokens: of a prompt, and after the prefix that all share.
    flops: floating-point operations of training and of evaluation. memory: bytes by part. seconds: estimated on this
    machine from a timed matrix product of the network's width.
    """

    grid: int
    chosen: int
    forwards: int
    tokens: int
    own_tokens: int
    flops: dict[str, float]
    memory: dict[str, float]
    seconds: float

    def text(self) -> str:
        """The plan as lines for the console."""
        memory = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in self.memory.items())
        work = ", ".join(f"{name} {amount / 1e12:,.1f}" for name, amount in self.flops.items())
        return "\n".join(
            [
                f"cells        {self.grid} in the grid, {self.chosen} more on the chosen ones",
                f"prompts      {self.tokens} tokens, the last {self.own_tokens} their own",
                f"forwards     {self.forwards:,} partial ones (a cell's batch through the layers above it)",
                f"operations   {work} (× 10¹²)",
                f"memory       {memory}",
                f"time         about {self.seconds / 60:,.1f} minutes, without early stopping",
            ]
        )


def plan(experiment: Experiment) -> Plan:
    """Counts from the configuration, the tokenizer and the causal models alone."""
    e, s = experiment, experiment.settings
    config: Any = (s.lm.model.config if hasattr(s.lm, "model") else load_config(str(s.lm))).get_text_config()
    prompts = e.task.encode(e.task.model.sample(np.random.default_rng(0), 200), e.tokenizer, e.positions)
    tokens = int(prompts.lengths.max())
    own = tokens - min(prompts.common_prefix(), tokens - 1)
    layer = _layer_flops(config)
    grid, refined = e.grid(), e.refinement(dict.fromkeys(e.hypotheses, e.grid()[0].site))
    depth = config.num_hidden_layers
    suffix = {p: tokens - int(at.min()) for p, at in prompts.positions.items()}
    per_row = sum((depth - 1 - c.site.layer) * suffix[c.site.position] for c in grid) * layer
    per_row += len(grid) * 2 * e.width * config.vocab_size
    capture = len(e.hypotheses) * 2 * own * depth * layer
    steps, rows = s.steps, s.batch
    checks = -(-s.steps // s.check_every) * s.val_pairs
    judged = 3 * (s.val_pairs + s.test_pairs)
    flops = {
        "training": steps * rows * (2 * per_row + capture) + checks * per_row,
        "evaluation": judged * per_row,
    }
    return Plan(
        grid=len(grid),
        chosen=len(set(refined) - set(grid)),
        forwards=len(grid) * (steps + (checks + judged) // rows),
        tokens=tokens,
        own_tokens=own,
        flops=flops,
        memory=_memory(e, config, own, layer),
        seconds=sum(flops.values()) / _rate(e.width, s.threads) / s.workers,
    )


def _layer_flops(config: Any) -> float:
    """Of one token through one layer, forward: two per weight."""
    d = config.hidden_size
    heads, groups = config.num_attention_heads, getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    inner = getattr(config, "intermediate_size", None) or 4 * d
    gates = 3 if getattr(config, "hidden_act", "") in ("silu", "gelu_pytorch_tanh") else 2
    weights: int = round(2 * d * d + 2 * d * d * groups / heads + gates * d * inner)
    return 2.0 * weights


def _memory(e: Experiment, config: Any, own: int, layer: float) -> dict[str, float]:
    """Bytes by part: weights, captures of a batch, what one cell's backward holds, the subspaces with their optimiser."""
    s, depth = e.settings, config.num_hidden_layers
    size = 4 if s.dtype == "float32" else 2
    rows = s.batch * len(e.hypotheses)
    cells = len(e.grid())
    k = getattr(s.kind, "k", 0)
    return {
        "weights": size * (depth * layer / 2 + 2 * config.vocab_size * e.width),
        "captures": size * rows * own * e.width * (2 * len(e.layers) + 2 * depth),
        "one cell": size * s.batch * own * 12 * e.width * depth / 2,
        "subspaces": 4 * 6 * cells * e.width * k * max(e.variables.values()),
        "prompts": 8 * own * POOL * len(e.hypotheses) * 2 * (s.train_pairs + s.val_pairs + s.test_pairs),
    }


REACHED = 0.4
"""The share of a matrix product's speed that a step reaches as a whole (measured on the demo)."""


def _rate(width: int, threads: int) -> float:
    """Floating-point operations per second that this machine reaches in matrix products of the network's width."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return REACHED * _timed_product(width)
    finally:
        torch.set_num_threads(before)


def _timed_product(width: int) -> float:
    a, b = torch.randn(512, width), torch.randn(width, 3 * width)
    for _ in range(10):
        a @ b
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        times.append(time.perf_counter() - start)
    return float(4 * 2 * 512 * width * 3 * width / np.median(times))
