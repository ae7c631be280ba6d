"""The paper's setting on one GPU: a step of ours against one of pyvene's, and what the paper's 1,365 runs would take.

    python benchmarks/gpu.py --json out.json        needs a CUDA device with some 40 GB
    python benchmarks/gpu.py --dry-run              the same on a tiny network, on the CPU

A Llama of 7B shape with random weights in bf16, prompts of 82 tokens (46 shared, as in price tagging), batch 64. One cell at
layer 15 and the last position with both, in turns; then the paper's grid of 7 layers × 13 positions × 4 hypotheses with ours.
A run of the paper is 20,000 pairs × 3 epochs in batches of 64; no early stopping, and the time of checks and loading is left
out of both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import gauge
import synthetic
import torch

from das import Boundless, Nested

RUNS, STEPS, PAPER_HOURS = 1365, -(-20_000 * 3 // 64), 936
"""The paper's runs, the optimiser steps of each at batch 64, and about what they took (hours of an A100)."""


@dataclass(frozen=True)
class Shape:
    """A network, prompts and a grid."""

    d: int = 4096
    depth: int = 32
    heads: int = 32
    intermediate: int = 11008
    vocab: int = 32001
    length: int = 82
    shared: int = 46
    batch: int = 64
    layer: int = 15
    layers: Sequence[int] = tuple(range(0, 31, 5))
    positions: int = 13
    hypotheses: int = 4
    k: int = 32


TINY = Shape(32, 4, 2, 48, 100, 20, 12, 4, 1, (0, 2), 3, 2, 8)


def peak_gb(function: Callable[[], Any]) -> float | None:
    """The most GPU memory (GB) in use during one call, the network and all that is trained beside included; nothing without
    a GPU."""
    if not torch.cuda.is_available():
        function()
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 1e9


def row(what: str, cells: int, seconds: float, step: Callable[[], Any]) -> dict[str, Any]:
    """A measured step, with the hours of the paper's runs at its seconds a cell."""
    hours = seconds / cells * STEPS * RUNS / 3600
    return {"what": what, "cells": cells, "seconds": seconds, "peak_gb": peak_gb(step), "hours": hours}


def measure(shape: Shape, device: str, dtype: torch.dtype, repeats: int) -> list[dict[str, Any]]:
    """One cell with each library, in turns, then the grid."""
    s = shape
    lm = synthetic.network(s.d, s.depth, s.heads, s.heads, s.intermediate, s.vocab, dtype, device)
    data = synthetic.dataset(s.hypotheses, 8 * s.batch, s.length, s.shared, s.positions, s.vocab)
    ours = partial(synthetic.trainer, lm, data, batch=s.batch)
    cell = {"layers": [s.layer], "positions": ["last"], "hypotheses": 1}
    one: dict[str, Callable[[], Any]] = {
        "das, one cell (Boundless)": partial(synthetic.grid_step, ours(**cell, kind=Boundless(k=s.k))),
        "das, one cell (Nested)": partial(synthetic.grid_step, ours(**cell, kind=Nested(k=s.k))),
        "pyvene, one cell": synthetic.pyvene_step(lm, data, s.layer, "last", s.batch),
    }
    times = gauge.medians(one, repeats, warm=2)
    rows = [row(what, 1, times[what], step) for what, step in one.items()]
    one.clear()
    grid = ours(layers=s.layers, positions=synthetic.position_names(s.positions), kind=Nested(k=s.k))
    step = partial(synthetic.grid_step, grid)
    return [*rows, row("das, grid", len(grid.cells), gauge.medians({"": step}, max(1, repeats // 3))[""], step)]


def report(rows: Sequence[dict[str, Any]], dry: bool) -> None:
    """The table, and how to read its last column."""
    gauge.table(rows)
    on_gpu = f"{RUNS:,} runs of {STEPS} steps on this GPU; the paper's own took about {PAPER_HOURS} hours of an A100"
    print("\nhours: " + ("those of a tiny network on the CPU, which mean nothing" if dry else on_gpu))


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--dry-run", action="store_true", help="a tiny network on the CPU: a trial of the benchmark")
    arguments = parser.parse_args()
    if not arguments.dry_run and not torch.cuda.is_available():
        print("gpu.py: there is no CUDA device here; --dry-run does the same with a tiny network on the CPU", file=sys.stderr)
        sys.exit(2)
    if arguments.dry_run:
        shape, rows = TINY, measure(TINY, "cpu", torch.float32, 1)
    else:
        shape, rows = Shape(), measure(Shape(), "cuda", torch.bfloat16, arguments.repeats)
    report(rows, arguments.dry_run)
    more = {"shape": asdict(shape), "dry_run": arguments.dry_run, "paper_hours": PAPER_HOURS, "runs": RUNS, "steps": STEPS}
    gauge.write_json(arguments.json, rows, **more)


if __name__ == "__main__":
    main()
