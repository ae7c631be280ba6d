"""How long until an alignment is as good as it gets: a whole grid of ours against pyvene, cell after cell.

The left boundary of price tagging on the shipped network, every layer × the last 13 positions. Ours is a run as `das run`
makes it, everything included: pairs, captures, training with early stopping, validation, test, tables and figures. pyvene
trains six cells with its tutorial's recipe on the same pairs with the causal model's labels; its clock counts training steps
alone, up to the check at which its validation IIA stops rising, and is scaled from the six cells to the grid. One thread,
processor seconds, so that other work on the machine does not count.

    python benchmarks/time_to_iia.py --json benchmarks/results/time_to_iia.json
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import synthetic as s

from das import Experiment
from das.dataset import Dataset

HYPOTHESIS = "left_boundary"
CELLS = [(0, "last-12"), (1, "last-12"), (2, "last-12"), (2, "last"), (3, "last"), (4, "last")]
OURS = {"steps": 120, "check_every": 20, "patience": 2, "subspace": "nested:k=16", "chosen_seeds": 1, "threads": 1}
STEPS, CHECK, PATIENCE, GAIN = 938, 50, 5, 0.005
"""pyvene's: three passes over 20,000 pairs in batches of 64; checks without gain after which it counts as no longer rising."""


def ours(experiment: Experiment, folder: str) -> tuple[float, Any]:
    """Processor seconds of a whole run, and its table by cell."""
    start = time.process_time()
    run = experiment.run(Path(folder) / "run")
    seconds = time.process_time() - start
    return seconds, run.table().set_index(["layer", "position"])


def pyvene(cell: s.PyveneCell, val: Dataset, test: Dataset) -> dict[str, float]:
    """Trains until the validation IIA no longer rises: seconds and steps to the best check, and its test IIA."""
    seconds, best, stale = 0.0, {"val": -1.0}, 0
    while stale < PATIENCE and cell.done < STEPS:
        start = time.process_time()
        for _ in range(min(CHECK, STEPS - cell.done)):
            cell.step()
        seconds += time.process_time() - start
        iia = cell.iia(val)
        stale = 0 if iia > best["val"] + GAIN else stale + 1
        if not stale:
            best = {"val": iia, "seconds": seconds, "steps": cell.done, "test": cell.iia(test)}
    return best


def total(rows: Sequence[Mapping[str, Any]], cells: int, seconds: float) -> dict[str, float]:
    """The whole grid: ours as measured, pyvene's from the mean of its cells so far."""
    theirs = cells * float(np.mean([row["pyvene_s"] for row in rows]))
    return {"grid_cells": cells, "ours_grid_s": seconds, "pyvene_grid_s": theirs, "ratio": theirs / seconds}


def main() -> None:
    parser = gauge.parser(__doc__)
    options = parser.parse_args()
    experiment = Experiment("price_tagging", "price-tagger-tiny", hypotheses=[HYPOTHESIS], logger="none", **OURS)
    with tempfile.TemporaryDirectory() as folder:
        seconds, table = ours(experiment, folder)
    cells = len(experiment.grid())
    material = experiment.material()
    data = material.data
    rows = []
    for layer, position in CELLS:
        found = pyvene(s.PyveneCell(material.lm, data["train"], layer, position, 64, STEPS), data["val"], data["test"])
        mine = float(table.loc[(layer, position), "test_iia"])
        theirs = {"pyvene_s": found["seconds"], "pyvene_steps": found["steps"], "pyvene_iia": found["test"]}
        rows.append({"cell": f"layer {layer}, {position}", **theirs, "ours_s": seconds / cells, "ours_iia": mine})
        gauge.table(rows[-1:])
        gauge.write_json(options.json, rows, **total(rows, cells, seconds))
    gauge.table(rows)
    gauge.table([total(rows, cells, seconds)])


if __name__ == "__main__":
    main()
