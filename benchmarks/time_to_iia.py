"""How long until an alignment is as good as it gets: a whole grid of ours against pyvene, cell after cell.

The left boundary of price tagging on the shipped network, every layer × the last 13 positions. Ours is `das run` in a process
of its own, everything included: imports, pairs, captures, training with early stopping, validation, test, tables and figures.
pyvene trains six cells with its tutorial's recipe on the same pairs with the causal model's labels; its clock counts training
steps alone, up to the check at which its validation IIA stops rising, and is scaled from the six cells to the grid. One
thread, processor seconds, so that other work on the machine does not count. Cells of pyvene's that the JSON file already
holds from such a machine are not trained again.

    python benchmarks/time_to_iia.py --json benchmarks/results/time_to_iia.json
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import synthetic as s
import yaml

from das import Experiment, Run
from das.dataset import Dataset

RUN = {
    "task": "price_tagging", "lm": "price-tagger-tiny", "hypotheses": ["left_boundary"], "layers": "all",
    "positions": ["last-12..last"], "train_pairs": 20_000, "val_pairs": 512, "test_pairs": 1000,
}  # fmt: skip
OURS = {"subspace": "boundless:k=16", "steps": 120, "check_every": 20, "patience": 2, "chosen_seeds": 1, "threads": 1}
CELLS = [(0, "last-12"), (1, "last-12"), (2, "last-12"), (2, "last"), (3, "last"), (4, "last")]
STEPS, CHECK, PATIENCE, GAIN = 938, 50, 5, 0.005
"""pyvene's: three passes over 20,000 pairs in batches of 64; checks without gain after which it counts as no longer rising."""


def ours() -> tuple[float, Any]:
    """Processor seconds of a whole `das run`, and its table by cell."""
    with tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder) / "run.yaml", Path(folder) / "run"
        config.write_text(yaml.safe_dump(RUN | OURS))
        start = _children_seconds()
        subprocess.run([sys.executable, "-m", "das", "run", str(config), "--out", str(out)], check=True)
        return _children_seconds() - start, Run(out).table().set_index(["layer", "position"])


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pyvene(cell: s.PyveneCell, val: Dataset, test: Dataset) -> dict[str, Any]:
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
    return {"pyvene_s": best["seconds"], "pyvene_steps": best["steps"], "pyvene_iia": best["test"], "pyvene_trained": cell.done}


def theirs(path: Path | None) -> list[dict[str, Any]]:
    """A row for each of pyvene's cells, written as soon as it is trained; those that are there already are taken."""
    rows = _kept(path) if path and path.exists() else []
    known = {row["cell"] for row in rows}
    missing = [cell for cell in CELLS if name(*cell) not in known]
    material = Experiment(**RUN).material() if missing else None
    for layer, position in missing:
        data = material.data
        cell = s.PyveneCell(material.lm, data["train"], layer, position, 64, STEPS)
        rows.append({"cell": name(layer, position), **pyvene(cell, data["val"], data["test"])})
        gauge.table(rows[-1:])
        gauge.write_json(path, rows)
    return rows


def _kept(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that was written on such a machine as this one."""
    found = json.loads(path.read_text())
    return found["rows"] if found["machine"] == gauge.machine() else []


def name(layer: int, position: str) -> str:
    return f"layer {layer}, {position}"


def total(rows: Sequence[Mapping[str, Any]], cells: int, seconds: float) -> dict[str, float]:
    """The whole grid: ours as measured, pyvene's from the mean of its cells."""
    mean = float(np.mean([row["pyvene_s"] for row in rows]))
    return {"grid_cells": cells, "ours_grid_s": seconds, "pyvene_grid_s": mean * cells, "ratio": mean * cells / seconds}


def main() -> None:
    parser = gauge.parser(__doc__)
    options = parser.parse_args()
    trained = {row["cell"]: row for row in theirs(options.json)}
    seconds, table = ours()
    rows = [trained[name(*cell)] | {"ours_iia": float(table.loc[cell, "test_iia"])} for cell in CELLS]
    whole = total(rows, len(table), seconds)
    gauge.table(rows)
    gauge.table([whole])
    gauge.write_json(options.json, rows, **whole, ours=OURS)


if __name__ == "__main__":
    main()
