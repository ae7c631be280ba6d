"""Memorisation on a language model: does taking out "known by heart" take recall, and leave facts?

    das run configs/smollm2/memorisation.yaml
    python benchmarks/memorisation.py runs/smollm2-memorisation --json benchmarks/results/smollm2/memorisation.json

First every layer's direction is tried on lines that it was found on, both ways, and the layer is taken where recall falls most.
Then each kind of direction there is added to held-out lines and to facts (capitals and languages), beside random directions of
the same length: the share of lines that are completed to the letter, and of facts that are right. How well held-out lines are
told from made-up ones by the direction stands beside it. The direction's sign is turned so that + is towards remembered.
Draws the figure beside the JSON file. One thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import pandas as pd

import das
from das.draw.matches import matches_figure, rates
from das.task.task import Task
from das.use.matches import FOUND
from das.use.steerer import Steerer

TRIED, DOSES = (-4.0, 4.0), (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
"""In natural spreads along the direction."""


def lines(task: Task, shift: str, remembered: bool) -> list[tuple[str, str]]:
    """Openings and endings of lines that are, or are not, known by heart."""
    values = task.under(shift).model.run(task.under(shift).model.inputs.enumerate())
    some = values["line"][values["remembered"] == remembered].tolist()
    return [tuple(line.split(" | ")) for line in some]


def facts() -> list[tuple[str, str]]:
    """Questions of fact editing, asked as its directions are found, and their answers."""
    task = das.load_task("fact_editing")
    asked = pd.DataFrame(task.model.inputs.enumerate())
    asked = asked[(asked["question"] != "continent") & (asked["shown"] == "Peru")]
    values = task.model.run({name: asked[name].to_numpy() for name in asked})
    return list(zip(task.render(values).texts, values[task.model.output].tolist(), strict=True))


def readings(steerer: Steerer, task: Task, shift: str) -> list[np.ndarray]:
    """Where the openings of remembered lines lie along the direction, and those of made-up ones."""
    return [steerer.reads([o for o, _ in lines(task, shift, known)], "last").numpy() for known in (True, False)]


def natural(steerer: Steerer, task: Task) -> float:
    """The standard deviation along the direction of the lines it was found on; negative where remembered ones lie below."""
    one, other = readings(steerer, task, "base")
    return float(np.concatenate([one, other]).std() * np.sign(one.mean() - other.mean()))


def auroc(one: np.ndarray, other: np.ndarray) -> float:
    """How often a draw of the first is larger than one of the other."""
    return float((one[:, None] > other).mean() + (one[:, None] == other).mean() / 2)


def added(run: das.Run, cell: str, unit: float, sets: dict[str, Any], doses: Sequence[float], randoms: int) -> pd.DataFrame:
    """Matches against natural spreads towards remembered."""
    found = run.matches(cell, sets, [dose * unit for dose in doses], randoms=randoms)
    return found.assign(alpha=(found["alpha"] / unit).round(6))


def by_layer(run: das.Run, cells: pd.DataFrame, task: Task) -> list[dict[str, Any]]:
    """Recall of the lines that directions were found on, when each layer's is added both ways."""
    rows = []
    for cell, layer in zip(cells["cell"], cells["layer"], strict=True):
        unit = natural(run.steerer(cell), task)
        shares = rates(added(run, cell, unit, {"lines": lines(task, "base", True)}, TRIED, 0))["share"]
        rows.append({"layer": int(layer), "spread": abs(unit), "less": shares[0], "more": shares[1]})
        print(rows[-1], flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("run", type=Path, help="folder of the finished run")
    parser.add_argument("--randoms", type=int, default=3, help="random directions")
    options = parser.parse_args(arguments)
    run, task = das.Run.open(options.run), das.load_task("memorisation")
    table = run.table()
    layers = by_layer(run, table[table["subspace"] == run.settings().kind.label], task)
    layer = min(layers, key=lambda row: row["less"])["layer"]
    sets, parts, read = {"lines by heart": lines(task, "held_out", True), "facts": facts()}, [], []
    for cell, kind in table[table["layer"] == layer][["cell", "subspace"]].itertuples(index=False):
        unit = natural(run.steerer(cell), task)
        one, other = readings(run.steerer(cell), task, "held_out")
        sure = auroc(np.sign(unit) * one, np.sign(unit) * other)
        read.append({"kind": kind, "layer": layer, "spread": abs(unit), "held out, told apart": sure})
        found = added(run, cell, unit, sets, DOSES, 0 if parts else options.randoms)
        parts.append(found.replace({"direction": {FOUND: kind}}))
    found = pd.concat(parts, ignore_index=True)
    rows = rates(found).round(3).to_dict("records")
    gauge.table(read)
    gauge.table(rows)
    gauge.write_json(options.json, rows, layers=layers, readings=read, lines={name: len(each) for name, each in sets.items()})
    if options.json:
        matches_figure(found, "natural spreads towards remembered").savefig(options.json.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
