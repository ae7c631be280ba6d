"""Fact editing on a language model: a country's capital is moved; what moves, what follows, what stays?

    das run configs/smollm2/fact_editing.yaml
    python benchmarks/fact_editing.py runs/smollm2-fact-editing --json benchmarks/results/smollm2/fact_editing.json

Draws moves between countries whose capitals, languages and continents all differ, and makes each with every alignment of the
run's chosen site: by a swap, by adding the direction, by a random direction of the same length, and by the whole vector. Asked
are the questions that directions were found on, paraphrases, what follows from the capital, and what must stay. Draws a figure
for each kind beside the JSON file. One thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gauge
import numpy as np
import pandas as pd

import das
from das.draw.edits import edits_figure, shares
from das.task.task import Task

SHIFTS = ("base", "moved", "follows", "kept")
DOSES = (0.5, 1.0, 2.0, 3.0)
OUTCOMES = {
    "base": "capital moved, as found",
    "moved": "capital moved, paraphrased",
    "follows": "what follows",
    "kept": "what must stay",
}


def moves_of(task: Task, n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Ordered pairs of countries that have no fact in common, drawn."""
    inputs = task.model.inputs.enumerate()
    table = pd.DataFrame(task.hypothesis("capital").model.run(inputs)).drop_duplicates("country").set_index("country")
    facts = table[["capital", "language", "continent"]]
    apart = [(a, b) for a in facts.index for b in facts.index if (facts.loc[a] != facts.loc[b]).all()]
    order = np.random.default_rng(seed).permutation(len(apart))[:n]
    return [apart[i] for i in order]


def outcome(table: pd.DataFrame) -> pd.Series:
    """Which panel a question belongs to: whatever the causal model says must not change is what must stay."""
    return table["under"].where(table["moves"], "kept").map(OUTCOMES)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("run", type=Path, help="folder of the finished run")
    parser.add_argument("--moves", type=int, default=12, help="how many are drawn")
    parser.add_argument("--cells", nargs="*", help="ids of cells; by default all of the chosen site")
    options = parser.parse_args(arguments)
    run = das.Run.open(options.run)
    moves, rows = moves_of(das.load_task("fact_editing"), options.moves), []
    for name in options.cells or chosen(run):
        found = run.edits(name, "country", moves, SHIFTS, DOSES)
        found = found.assign(outcome=outcome(found), kind=run.alignment(name).cell.kind.label)
        rows += of_table(found)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            edits_figure(found, "outcome").savefig(
                options.json.with_name(f"{options.json.stem}_{found['kind'][0]}.png"), dpi=110
            )
    gauge.table([row for row in rows if row["question"] == "all"])
    gauge.write_json(options.json, rows, moves=[" → ".join(move) for move in moves])


def chosen(run: das.Run) -> list[str]:
    """The cells at the site that validation chose, of every kind."""
    table = run.table()
    entry = next(iter(run.summary["hypotheses"].values()))
    here = table[(table["layer"] == entry["layer"]) & (table["position"] == entry["position"])]
    return list(here["cell"])


def of_table(found: pd.DataFrame) -> list[dict[str, object]]:
    """Rows of shares, over all questions of an outcome and of each."""
    rows: list[dict[str, object]] = []
    for name, each in found.groupby("outcome", sort=False):
        parts = {"all": each} | dict(list(each.groupby("question", sort=False)))
        for question, part in parts.items():
            head = {"kind": part["kind"].iloc[0], "outcome": name, "question": question}
            rows += [head | row for row in shares(part).round(3).to_dict("records")]
    return rows


if __name__ == "__main__":
    main()
