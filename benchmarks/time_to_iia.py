"""How long until an alignment is as good as it gets: a whole grid of ours against pyvene, cell after cell.

The left boundary of price tagging on the shipped network, every layer × the last 13 positions. Ours is `das run` in a process
of its own, everything included: imports, pairs, captures, training with early stopping, validation, test, tables and figures.
pyvene trains six cells with its tutorial's recipe on the same pairs with the causal model's labels; its clock counts training
steps alone, up to the check at which its validation IIA stops rising, and is scaled from the six cells to the grid. What both
have come to is then scored, off the clock, on the same 8,000 further pairs, none of whose prompts either was trained or chosen
on; with 1,000 the standard error of a cell's difference would be larger than what is to be shown. One thread, processor
seconds, so that other work on the machine does not count.

    python benchmarks/time_to_iia.py --json benchmarks/results/time_to_iia.json
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import synthetic as s
import yaml

from das import Experiment, Run, Task
from das.interchange.engine import Engine
from das.interchange.score import score
from das.pairs.dataset import Dataset
from das.pairs.drawer import make_pairs
from das.pairs.pools import split_pools
from das.run.material import Material
from das.run.table import pair_table, prompt_codes
from das.stats import Bootstrap

HYPOTHESIS, EXAM = "left_boundary", 8000
RUN = {
    "task": "price_tagging", "lm": "price-tagger-tiny", "hypotheses": [HYPOTHESIS], "layers": "all",
    "positions": ["last-12..last"], "train_pairs": 20_000, "val_pairs": 512, "test_pairs": 1000,
}  # fmt: skip
OURS = {
    "subspace": "boundless:k=32,penalty=0.3", "steps": 200, "check_every": 20, "patience": 2, "chosen_seeds": 1,
    "closed_forms": [], "threads": 1,
}  # fmt: skip
CELLS = [(0, "last-12"), (1, "last-12"), (2, "last-12"), (2, "last"), (3, "last"), (4, "last")]
STEPS, CHECK, PATIENCE, GAIN = 938, 50, 5, 0.005
"""pyvene's: three passes over 20,000 pairs in batches of 64; checks without gain after which it counts as no longer rising."""


def exam(material: Material, task: Task, positions: Sequence[str]) -> tuple[Dataset, Any]:
    """Pairs of prompts that are in neither training nor validation, as tokens; and each pair's base prompt, as a number."""
    rng = np.random.default_rng(7)
    pool = split_pools(task.model, {"exam": 3 * EXAM}, rng)["exam"]
    pairs = make_pairs(task.hypotheses[HYPOTHESIS], pool, EXAM, rng, rivals=task.rivals(HYPOTHESIS))
    codes = prompt_codes(pair_table(pairs))
    known = [prompt_codes(pair_table(material.pairs[split][HYPOTHESIS])) for split in ("train", "val")]
    seen = np.concatenate([code for each in known for code in each.values()])
    rows = np.flatnonzero(~np.any([np.isin(code, seen) for code in codes.values()], axis=0))
    data = Dataset.make(task, material.lm.tokenizer, {HYPOTHESIS: pairs}, positions)
    return replace(data, pairs={HYPOTHESIS: data.pairs[HYPOTHESIS].take(rows)}), codes["base"][rows]


def ours(engine: Engine, data: Dataset) -> tuple[float, int, dict[str, Any]]:
    """Processor seconds of a whole `das run`, its cells, and the hits on `data` of those that are compared."""
    with tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder) / "run.yaml", Path(folder) / "run"
        config.write_text(yaml.safe_dump(RUN | OURS))
        start = _children_seconds()
        subprocess.run([sys.executable, "-m", "das", "run", str(config), "--out", str(out)], check=True)
        seconds, run = _children_seconds() - start, Run(out)
        table = run.table().set_index(["layer", "position"])
        found = [run.alignment(table.loc[cell, "cell"]) for cell in CELLS]
    wanted = {name(*cell): (HYPOTHESIS, a.cell.site, [a.feature]) for cell, a in zip(CELLS, found, strict=True)}
    return seconds, len(table), {key: hits[0] for key, hits in score(engine, data, wanted).items()}


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pyvene(cell: s.PyveneCell, val: Dataset, data: Dataset) -> tuple[dict[str, Any], Any]:
    """Trains until the validation IIA no longer rises: seconds and steps to the best check, and its hits on `data`."""
    seconds, stale, best, kept = 0.0, 0, {"pyvene_val": -1.0}, {}
    while stale < PATIENCE and cell.done < STEPS:
        start = time.process_time()
        for _ in range(min(CHECK, STEPS - cell.done)):
            cell.step()
        seconds += time.process_time() - start
        iia = float(cell.hits(val).mean())
        stale = 0 if iia > best["pyvene_val"] + GAIN else stale + 1
        if not stale:
            best = {"pyvene_s": seconds, "pyvene_steps": cell.done, "pyvene_val": iia}
            kept = {key: tensor.clone() for key, tensor in cell.swap.state_dict().items()}
    cell.swap.load_state_dict(kept)
    return best | {"pyvene_trained": cell.done}, cell.hits(data)


def name(layer: int, position: str) -> str:
    return f"layer {layer}, {position}"


def total(rows: Sequence[Mapping[str, Any]], cells: int, seconds: float) -> dict[str, float]:
    """The whole grid: ours as measured, pyvene's from the mean of its cells."""
    mean = float(np.mean([row["pyvene_s"] for row in rows]))
    return {"grid_cells": cells, "ours_grid_s": seconds, "pyvene_grid_s": mean * cells, "ratio": mean * cells / seconds}


def main() -> None:
    options = gauge.parser(__doc__).parse_args()
    experiment = Experiment(**RUN)
    material = experiment.material()
    data, base = exam(material, experiment.task, experiment.positions)
    seconds, cells, hits = ours(material.engine, data)
    bootstrap, rows = Bootstrap(base), []
    for layer, position in CELLS:
        cell = s.PyveneCell(material.lm, material.data["train"], layer, position, 64, STEPS)
        row, theirs = pyvene(cell, material.data["val"], data)
        mine = hits[name(layer, position)]
        gain = bootstrap.difference(mine, theirs)
        iia = {"pyvene_iia": float(theirs.mean()), "ours_iia": float(mine.mean())}
        rows.append({"cell": name(layer, position), **row, **iia, "gain": gain.mean, "low": gain.low, "high": gain.high})
        gauge.table(rows[-1:])
        whole = total(rows, cells, seconds)
        gauge.write_json(options.json, rows, **whole, pairs=len(base), ours=OURS)
    gauge.table(rows)
    gauge.table([whole])


if __name__ == "__main__":
    main()
