"""A run at Alpaca-7B's full shape: does it pass, in how much memory, and how long does it take?

    python benchmarks/llama7b.py --json out.json        needs 17 GB of memory; minutes where the processor multiplies in bf16
    python benchmarks/llama7b.py --device cuda          more pairs, more steps and the usual nulls, on a GPU
    python benchmarks/llama7b.py --dry-run              the same on a tiny network

A Llama of 7B shape with random weights in bf16 (it answers nothing: costs alone are real), and `Experiment` as `das run` uses
it, from pairs to figures, on the paper's 7 layers × 2 positions for one hypothesis of price tagging: few steps, few pairs.
The prompts are those of the task, with the shipped network's tokenizer (79 tokens; Alpaca's makes 82). Beside the measured
seconds and memory stand those that `das plan` estimates. On one thread, in a process of its own.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import gauge
import synthetic
import torch

from das import Experiment
from das.network.lm import LM
from das.network.source import load_tokenizer
from das.progress import console
from das.run.plan import plan

SHAPE = {"d": 4096, "layers": 32, "heads": 32, "kv_heads": 32, "intermediate": 11008, "vocab": 32001}
TINY = {"d": 32, "layers": 32, "heads": 2, "kv_heads": 2, "intermediate": 48, "vocab": 200}
RUN = {
    "hypotheses": ["left_boundary"], "layers": list(range(0, 31, 5)), "positions": ["last-6", "last"],
    "subspace": "boundless:k=16", "chosen_seeds": 1, "closed_forms": [],
    "train_pairs": 8, "val_pairs": 2, "test_pairs": 4, "steps": 3,
    "check_every": 3, "batch": 2, "dtype": "bfloat16", "memory": 1.0, "threads": 1, "logger": "none",
}  # fmt: skip
ON_GPU = RUN | {
    "train_pairs": 2000, "val_pairs": 200, "test_pairs": 500, "steps": 60, "check_every": 20, "batch": 64, "nulls": 2,
}  # fmt: skip


def experiment(shape: dict[str, int], device: str) -> Experiment:
    """Of price tagging, on random weights."""
    lm = synthetic.network(**shape, dtype=torch.bfloat16, device=device)
    settings = (RUN if device == "cpu" else ON_GPU) | {"device": device}
    return Experiment("price_tagging", LM(lm.model, load_tokenizer("price-tagger-tiny"), "random-7b"), **settings)


def run(shape: dict[str, int], device: str, done: Path) -> None:
    """Plans and does it; writes to `done` what it took."""
    made = experiment(shape, device)
    planned = plan(made)
    print(planned.text(), flush=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cells = len(made.run(Path(folder) / "run", console()).table())
    row = {
        "cells": cells, "seconds": time.perf_counter() - started, "planned_seconds": sum(planned.seconds.values()),
        "planned_gb": sum(planned.memory.values()) / 1e9, "gpu_gb": torch.cuda.max_memory_allocated() / 1e9,
    }  # fmt: skip
    gauge.write_json(done, [row])


def measure(shape: dict[str, int], device: str) -> dict[str, Any]:
    """The run in a process of its own, whose memory is watched."""
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done.json"
        peak = gauge.peak_memory_mb(partial(run, shape, device, done))
        return gauge.read_rows(done)[0] | {"peak_gb": peak * 2**20 / 1e9, "peak_gib": peak / 1024}


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="a tiny network: a trial of the benchmark")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for a run of more pairs and steps")
    options = parser.parse_args()
    shape = TINY if options.dry_run else SHAPE
    rows = [measure(shape, options.device)]
    gauge.table(rows)
    gauge.write_json(options.json, rows, shape=shape, device=options.device, dry_run=options.dry_run)


if __name__ == "__main__":
    main()
