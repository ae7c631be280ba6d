"""SmolLM2-135M (after `make smollm2`): how well it answers each task, and what the runs on it found.

    python benchmarks/smollm2.py runs/smollm2-* --json benchmarks/results/smollm2/table.json

The first table has the share of prompts that it answers correctly, by its first token (`exact`) and by the likeliest of the
answers that occur (`among`); price tagging, for which it was not trained, zero-shot, after solved lines, and as a chat. The
second has a row per run and hypothesis, from the run's summary. One thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import torch

from das.interchange.selftest import make_engine
from das.network.lm import LM
from das.network.site import place_text
from das.pairs.dataset import Dataset
from das.task.asked import ask
from das.task.files import load_task

ASKED = {
    "ioi": ["base"], "agreement": ["base"], "copying": ["base"], "countries": ["base"],
    "price_tagging": ["base", "few_shot:2", "few_shot:4", "chat"], "honesty": ["base", "few_shot:4"],
}  # fmt: skip
PROMPTS = {"price_tagging": 100, "honesty": 100}
"""Of 256 otherwise: these are long."""


def accuracy(lm: LM, task: str, under: str) -> dict[str, Any]:
    """On drawn prompts of a task under a shift."""
    loaded, n = load_task(task), PROMPTS.get(task, 256)
    asked = loaded.under(under, lm.tokenizer).variant("base")
    asked = replace(asked, prompt=replace(asked.prompt, first_token=True))
    put = ask(asked, asked.inputs.sample(np.random.default_rng(0), n), lm.tokenizer)
    prompts, answers = put.prompts, put.numbers
    engine, candidates = make_engine(lm, Dataset(prompts, {}).shared_prefix()), np.unique(answers)
    parts = [engine.capture(prompts.take(slice(i, i + 32)), []).logits for i in range(0, n, 32)]
    logits = torch.cat([part for part in parts if part is not None])
    said, best = logits.argmax(-1).cpu().numpy(), candidates[logits[:, candidates].argmax(-1).cpu().numpy()]
    shares = {"exact": float((said == answers).mean()), "among": float((best == answers).mean())}
    commonest = float(np.unique(answers, return_counts=True)[1].max() / n)
    tokens = int(prompts.lengths.max())
    return {"task": task, "under": under, "prompts": n, "tokens": tokens, **shares, "commonest": commonest}


def found(folder: Path) -> Iterator[dict[str, Any]]:
    """A row per hypothesis of a run."""
    summary = json.loads((folder / "summary.json").read_text())
    for entry in summary["hypotheses"].values():
        low, high = entry["test_ci"]
        beside = {name: round(entry["baselines"][name], 3) for name in ("noop", "whole", "random", "ceiling")}
        yield {
            "run": folder.name, "hypothesis": entry["hypothesis"], "cell": place_text(entry),
            "iia": round(entry["test_iia"], 3), "interval": f"{low:.3f}–{high:.3f}", "flip": round(entry["test_flip_iia"], 3),
            **beside, "rank": entry["rank"], "accuracy": round(summary["task_accuracy"], 3),
            "verdict": entry["verdict"]["verdict"], "cells": summary["cells"],
            "minutes": round(summary["wall_seconds"] / 60, 1),
        }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="*", help="folders of finished runs")
    options = parser.parse_args(arguments)
    lm = LM.load("smollm2-135m")
    accuracies = []
    for task, shifts in ASKED.items():
        accuracies += [accuracy(lm, task, under) for under in shifts]
        print(f"{task}: done", flush=True)
    gauge.table(accuracies)
    rows = [row for folder in options.runs for row in found(folder)]
    if rows:
        print()
        gauge.table(rows)
    gauge.write_json(options.json, rows, accuracies=accuracies)


if __name__ == "__main__":
    main()
