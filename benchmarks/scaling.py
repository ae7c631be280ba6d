"""How long is a step of a grid, against its size and the network's?

    python benchmarks/scaling.py --json out.json

Varies one thing at a time around a middle setting: a Llama of width 128 with 4 layers, prompts of 46 shared and 36 own tokens,
4 positions × 2 seeds at the middle layer, batch 64, k = 32. Every step captures its prompts anew. An exponent is the slope of
log seconds over log value; it lies below 1 where a part of the step does not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gauge
import numpy as np
import synthetic

from das import Nested


@dataclass(frozen=True)
class Setting:
    """A grid and a network; `shared` and `own`: a prompt's tokens before and after the end of the common prefix."""

    positions: int = 4
    seeds: int = 2
    width: int = 128
    depth: int = 4
    shared: int = 46
    own: int = 36
    k: int = 32
    batch: int = 64


MIDDLE = Setting()
VARIED = {
    "positions": (1, 2, 4, 8, 16),
    "seeds": (1, 2, 4, 8, 16),
    "width": (64, 128, 256, 512),
    "depth": (2, 4, 8, 16),
    "shared": (23, 46, 92, 184, 368),
    "own": (18, 36, 72, 144),
    "k": (8, 16, 32, 64, 128),
}
QUICK = Setting(positions=2, seeds=1, width=32, depth=2, shared=8, own=8, k=8, batch=4)


def step(s: Setting) -> Callable[[], None]:
    """One step of a setting's grid."""
    lm = synthetic.network(s.width, s.depth, s.width // 16, s.width // 16, s.width * 8 // 3, 1000)
    data = synthetic.dataset(1, 4 * s.batch, s.shared + s.own, s.shared, s.positions)
    names = synthetic.position_names(s.positions)
    return partial(
        synthetic.grid_step, synthetic.trainer(lm, data, [(s.depth - 1) // 2], names, Nested(k=s.k), s.batch, s.seeds)
    )


def measure(middle: Setting, varied: dict[str, Sequence[int]], repeats: int) -> list[dict[str, Any]]:
    """A row for every value; a setting that several of them share is measured once."""
    settings = {(what, value): replace(middle, **{what: value}) for what, values in varied.items() for value in values}
    seconds = gauge.medians({s: step(s) for s in settings.values()}, repeats)
    return [
        {"what": what, "value": value, "cells": s.positions * s.seeds, "seconds": seconds[s]}
        for (what, value), s in settings.items()
    ]


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Least squares in log-log, for each thing that was varied."""
    found = {}
    for what in dict.fromkeys(row["what"] for row in rows):
        values, seconds = zip(*[(row["value"], row["seconds"]) for row in rows if row["what"] == what], strict=True)
        found[what] = float(np.polyfit(np.log(values), np.log(seconds), 1)[0])
    return found


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="tiny settings, two values of each: a trial of the benchmark")
    arguments = parser.parse_args()
    if arguments.quick:
        rows = measure(QUICK, {what: (getattr(QUICK, what), 2 * getattr(QUICK, what)) for what in VARIED}, 1)
    else:
        rows = measure(MIDDLE, VARIED, arguments.repeats)
    gauge.table(rows)
    slopes = exponents(rows)
    print("\nexponents: " + "  ".join(f"{what} {slope:.2f}" for what, slope in slopes.items()))
    gauge.write_json(arguments.json, rows, exponents=slopes)


if __name__ == "__main__":
    main()
