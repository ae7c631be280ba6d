"""Fact editing on a language model: a country's capital is moved; what moves, what follows, what stays?

    das run configs/smollm2/fact_editing.yaml
    python benchmarks/fact_editing.py runs/smollm2-fact-editing/cells/*nested* --json …/results/smollm2/fact_editing.json

Draws moves between countries whose capitals, languages and continents all differ, and makes each with alignments of a run:
by a swap, by adding the direction, by a random direction of the same length, and by the whole vector. Asked
are the questions that directions were found on, paraphrases, what follows from the capital, and what must stay. Draws a figure
for each beside the JSON file. One thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gauge
import numpy as np
import pandas as pd

import das
from das.draw.edits import edits_figure, shares
from das.judge.edits import Edits
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
    parser.add_argument("cells", type=Path, nargs="+", help="folders of alignments, runs/…/cells/…")
    parser.add_argument("--lm", default="smollm2-135m", help="the network that they were found in")
    parser.add_argument("--moves", type=int, default=12, help="how many are drawn")
    options = parser.parse_args(arguments)
    task, lm, rows = das.load_task("fact_editing"), das.LM.load(options.lm), []
    moves = moves_of(task, options.moves)
    for alignment in map(das.Alignment.load, options.cells):
        found = Edits(alignment, lm, task, "country", moves, DOSES).outcomes(SHIFTS)
        name = alignment.cell.id
        found = found.assign(outcome=outcome(found), cell=name, rank=alignment.rank)
        rows += of_table(found)
        gauge.table([row for row in rows if row["question"] == "all" and row["cell"] == name])
        gauge.write_json(options.json, rows, moves=[" → ".join(move) for move in moves])
        if options.json:
            figure = edits_figure(found, "outcome")
            figure.savefig(options.json.with_name(f"{options.json.stem}_layer{alignment.cell.site.layer}.png"), dpi=110)


def of_table(found: pd.DataFrame) -> list[dict[str, object]]:
    """Rows of shares, over all questions of an outcome and of each."""
    rows: list[dict[str, object]] = []
    for name, each in found.groupby("outcome", sort=False):
        parts = {"all": each} | dict(list(each.groupby("question", sort=False)))
        for question, part in parts.items():
            head = {"cell": part["cell"].iloc[0], "rank": int(part["rank"].iloc[0]), "outcome": name, "question": question}
            rows += [head | row for row in shares(part).round(3).to_dict("records")]
    return rows


if __name__ == "__main__":
    main()
