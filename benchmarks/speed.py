"""Seconds of one training step over a whole grid: ours, all cells and their captures, against pyvene's, cell after cell.

The grid is the paper's: 4 hypotheses × the last 13 positions × every layer, or 7 of them; batch 64, 82 tokens of which the
first 46 are shared, as in price tagging. pyvene is measured on a sample of cells at several depths and positions: its step
depends on the depth, so its sum over the grid is taken from the sample by linear interpolation over layers. Both run in one
process in turns, on one thread.

    python benchmarks/speed.py --json benchmarks/results/speed.json
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gauge
import numpy as np
import synthetic as s

from das import Boundless

HYPOTHESES, POSITIONS, LENGTH, PREFIX, BATCH = 4, 13, 82, 46, 64


@dataclass(frozen=True)
class Scale:
    """A network, the layers of the grid, which of them pyvene is measured on, and how often all is repeated."""

    network: tuple[int, int, int, int, int, int]  # width, layers, heads, key heads, MLP neurons, vocabulary
    layers: Sequence[int]
    sample: Sequence[int]
    repeats: int

    @property
    def cells(self) -> int:
        return len(self.layers) * POSITIONS * HYPOTHESES


SCALES = {
    "small": Scale((128, 4, 4, 4, 352, 128), range(4), (0, 1, 3), 5),
    "medium": Scale((256, 8, 8, 8, 688, 1024), range(8), (0, 4, 7), 3),
    "large": Scale((576, 30, 9, 3, 1536, 49152), (0, 5, 9, 14, 19, 23, 28), (0, 14, 28), 1),
}
SAMPLED = (f"last-{POSITIONS - 1}", "last")
"""The positions that pyvene is measured at."""


def ours(scale: Scale, positions: int = POSITIONS, batch: int = BATCH) -> Any:
    """A trainer for the grid at the last `positions` positions."""
    lm, data = material(scale)
    return s.trainer(lm, data, scale.layers, s.position_names(positions), Boundless(k=32), batch)


def material(scale: Scale) -> Any:
    """A random network and random pairs."""
    vocab = scale.network[-1]
    return s.network(*scale.network), s.dataset(HYPOTHESES, 2 * BATCH, LENGTH, PREFIX, POSITIONS, vocab)


def pyvene(scale: Scale, batch: int = BATCH) -> dict[Any, Callable[[], Any]]:
    """A step of every sampled cell."""
    lm, data = material(scale)
    cells = [(layer, position) for layer in scale.sample for position in SAMPLED]
    return {(layer, position): s.pyvene_step(lm, data, layer, position, batch) for layer, position in cells}


def count(scale: Scale) -> tuple[float, dict[Any, float]]:
    """Floating-point operations of our grid step and of pyvene's steps. They are a constant and so much per row: counted in
    batches of 4 and of 8, after five steps that take pyvene's rotation away from its start, where it is nearly free."""
    found: list[dict[Any, float]] = []
    for batch in (4, 8):
        steps = {"grid": partial(s.grid_step, ours(scale, batch=batch)), **pyvene(scale, batch)}
        found.append({name: gauge.operations(step, warm=5 if name != "grid" else 0) for name, step in steps.items()})
    four, eight = found
    every = {name: four[name] + (eight[name] - four[name]) / 4 * (BATCH - 4) for name in four}
    return every.pop("grid"), every


def over_grid(scale: Scale, sampled: dict[Any, float], positions: int) -> float:
    """A sum over the grid's cells at so many positions, from the sampled cells."""
    names = SAMPLED if positions > 1 else ("last",)
    by_layer = [statistics.mean(sampled[layer, name] for name in names) for layer in scale.sample]
    per_cell = np.interp(list(scale.layers), list(scale.sample), by_layer)
    return float(per_cell.sum()) * positions * HYPOTHESES


def ours_once(scale: Scale) -> None:
    s.grid_step(ours(scale))


def pyvene_once(scale: Scale) -> None:
    lm, data = material(scale)
    s.pyvene_step(lm, data, scale.sample[0], "last", BATCH)()


def measure(name: str, memory: bool) -> dict[str, Any]:
    """A row of the table."""
    scale = SCALES[name]
    grid, last, theirs = ours(scale), ours(scale, 1), pyvene(scale)
    steps: dict[Any, Any] = {"captures": grid.capture, "grid": partial(s.grid_step, grid), **theirs}
    steps |= {"last": partial(last.step_on, last.capture()), "last captures": last.capture}
    times = gauge.medians(steps, scale.repeats, warm=int(scale.repeats > 1))
    operations, their_operations = count(scale)
    own_last = times["last"] + times["captures"] / POSITIONS
    alone = times["last"] + times["last captures"]
    total, total_last = over_grid(scale, times, POSITIONS), over_grid(scale, times, 1)
    by_operations = over_grid(scale, their_operations, POSITIONS) / operations
    row = {
        "d": scale.network[0], "layers": scale.network[1], "cells": scale.cells, "ours_s": times["grid"],
        "captures_s": times["captures"], "pyvene_s": total, "ratio": total / times["grid"],
        "ratio_last_position": total_last / own_last, "ratio_last_position_alone": total_last / alone,
        "ratio_by_operations": by_operations, "reached": total / times["grid"] / by_operations,
        "pyvene_cell_s": {f"layer {layer}, {position}": times[layer, position] for layer, position in theirs},
    }  # fmt: skip
    if memory:
        row["peak_mb"] = gauge.peak_memory_mb(partial(ours_once, scale))
        row["pyvene_peak_mb"] = gauge.peak_memory_mb(partial(pyvene_once, scale))
    return row


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--scales", nargs="+", choices=SCALES, default=list(SCALES))
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out (it runs each once more)")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.scales:
        rows.append(measure(name, not options.no_memory))
        gauge.table([{k: v for k, v in rows[-1].items() if k != "pyvene_cell_s"}])
        gauge.write_json(options.json, rows)


if __name__ == "__main__":
    main()
