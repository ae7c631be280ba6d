"""What do 64 cells of a closed form take, and 64 that train?

    python benchmarks/many_cells.py --json benchmarks/results/many_cells.json

The shipped price tagger, 32 sites × 2 hypotheses, everything as an experiment does by default: pairs, steps, early stopping, up
to 32 columns of `nested`, 8 of `probe` and `lat`. Processor seconds without those of the captures, which all kinds find there,
ranks settled; the kinds in turn, so often, and the medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import gauge
from remembering import Remembering, found

from das import Experiment
from das.find.alignment import Cell
from das.find.kinds import parse_kind
from das.find.search import Search

WHERE = {
    "hypotheses": ["left_boundary", "left_and_right"], "layers": [0, 1, 2, 3], "positions": ["last-7..last"],
    "subspace": "nested",
}  # fmt: skip
KINDS = "nested", "probe", "lat"


def rows(repeats: int, kinds: Sequence[str] = KINDS, **changes: Any) -> list[dict[str, Any]]:
    """A row per kind: cells, median seconds, and those of `nested` over them."""
    made = Experiment("price_tagging", "price-tagger-tiny", **WHERE | changes)
    material, cells = made.material(), made.grid()
    search = Search(Remembering(material.engine), material.data, made.schedule, room=2**33)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind in kinds:
            mine = [Cell(cell.hypothesis, cell.site, parse_kind(kind)) for cell in cells]
            seconds[kind].append(found(mine, search)[0])
            print(f"{kind}: {seconds[kind][-1]:.2f} s", flush=True)
    return told(seconds, len(cells))


def told(seconds: Mapping[str, Sequence[float]], cells: int) -> list[dict[str, Any]]:
    """As a table. seconds: kind → of each round."""
    medians = {kind: statistics.median(each) for kind, each in seconds.items()}
    first = next(iter(medians.values()))
    return [
        {"kind": kind, "cells": cells, "seconds": median, "ratio": first / median, "each": list(seconds[kind])}
        for kind, median in medians.items()
    ]


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    arguments = parser.parse_args()
    done = rows(arguments.repeats)
    gauge.table([{name: value for name, value in row.items() if name != "each"} for row in done])
    gauge.write_json(arguments.json, done)


if __name__ == "__main__":
    main()
