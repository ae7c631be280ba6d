"""How often is the verdict right, where we know what is true?

    python benchmarks/planted.py --json out.json

Draws networks of every structure in `das.planted.structures`, from the planted variable to the absent one, Makelov's illusion
and networks that are really trained, runs the whole experiment on each, nulls among it, and compares its verdict with the one
that the structure deserves. Ten draws of each take two hours and more on one core.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import gauge

from das import Experiment
from das.interchange.subspace import largest_angle
from das.planted.structures import STRUCTURES

SETTINGS = {
    "subspace": "nested:k=8", "chosen_seeds": 1, "closed_forms": [],
    "train_pairs": 1024, "val_pairs": 300, "test_pairs": 300, "steps": 200,
    "batch": 64, "check_every": 100, "nulls": 3, "logger": "none",
}  # fmt: skip


def judged(name, draw, **settings):
    """A draw of a structure with the verdict on it, as a row of the table."""
    start, structure = time.time(), STRUCTURES[name]
    planted, settings = structure.make(draw), SETTINGS | {"seed": draw} | dict(structure.settings) | settings
    with tempfile.TemporaryDirectory() as folder:
        run = Experiment(planted.task, planted.lm, **planted.search, **settings).run(Path(folder) / "run")
        (entry,) = run.summary["hypotheses"].values()
        angle = None if planted.basis is None else largest_angle(found(run, entry), planted.basis)
    given, expected = entry["verdict"]["verdict"], structure.expected
    return {
        "structure": name, "draw": draw, "verdict": given, "expected": expected, "right": given == expected,
        "rank": entry["rank"], "angle": angle, "iia": entry["test_iia"], "normalised": entry["normalised"],
        "p": entry["verdict"]["p"], "seconds": time.time() - start,
    }  # fmt: skip


def found(run, entry):
    """The columns (d, rank) of the chosen site's first alignment."""
    table = run.table()
    for key in ("layer", "component", "position"):
        table = table[table[key] == entry[key]]
    hard = run.alignment(table["cell"].iloc[0]).feature
    return hard.basis[:, hard.mask > 0.5]


def summary(rows):
    """Per structure: in how many of its draws the verdict is right, and the means of what was found."""
    for name in dict.fromkeys(row["structure"] for row in rows):
        mine = [row for row in rows if row["structure"] == name]
        given = sorted({row["verdict"] for row in mine if not row["right"]})
        means = {key: mean(row[key] for row in mine) for key in ("rank", "angle", "iia", "seconds")}
        right = f"{sum(row['right'] for row in mine)}/{len(mine)}"
        yield {"structure": name, "expected": mine[0]["expected"], "right": right, **means, "instead": ", ".join(given)}


def mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else ""


def main():
    parser = gauge.parser(__doc__)
    parser.add_argument("--draws", type=int, default=10, help="networks per structure")
    parser.add_argument("--structures", nargs="+", choices=list(STRUCTURES), default=list(STRUCTURES), metavar="NAME")
    arguments = parser.parse_args()
    rows = []
    print("structure               draw  verdict             right  rank   angle    IIA       p      s")
    for name in arguments.structures:
        for draw in range(arguments.draws):
            rows.append(judged(name, draw))
            print(line(rows[-1]), flush=True)
            gauge.write_json(arguments.json, rows)
    print()
    gauge.table(list(summary(rows)))
    print(f"\nright in {sum(row['right'] for row in rows)} of {len(rows)} draws", end="; ")
    print("; ".join(f"“{verdict}” in {wrong(rows, verdict)}" for verdict in ("supported", "illusory")))


def wrong(rows, verdict):
    """How often a verdict is given where another is deserved, and of how many."""
    others = [row for row in rows if row["expected"] != verdict]
    return f"{sum(row['verdict'] == verdict for row in others)} of {len(others)} where it is wrong"


def line(row):
    """A row of the table, as it comes."""
    angle = "–" if row["angle"] is None else f"{row['angle']:.1f}°"
    right = "yes" if row["right"] else "NO"
    return (
        f"{row['structure']:<22}  {row['draw']:>4}  {row['verdict']:<18}  {right:>5}  {row['rank']:>4g}  {angle:>6}  "
        f"{row['iia']:.3f}  {row['p']:.4f}  {row['seconds']:>5.1f}"
    )


if __name__ == "__main__":
    main()
