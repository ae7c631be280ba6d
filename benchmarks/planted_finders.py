"""How often is the verdict right, whoever proposed what it is on?

    python benchmarks/planted_finders.py --json benchmarks/results/planted_finders.json

Networks whose truth is known (see `das.planted.structures`): the variable lies there, or it does not, or nothing reads it.
Every finder looks for it at the cell where the first of them does best, on the same pairs, and is judged by the same rule.
Without nulls: they can only take a “supported” away. What the file has already is not computed again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gauge

from das import Experiment, fit_sae
from das.draw import gallery
from das.find.kinds import parse_kind
from das.planted.planting import Planted
from das.planted.structures import INPUTS_ALONE, STRUCTURES

FINDERS = (
    "nested:k=8", "boundless:k=8", "fixed:k=2", "neurons:k=8", "diffmeans", "lat", "probe", "pca", "dictionary", "random:k=2",
    "full",
)  # fmt: skip
"""The grid is searched with the first."""

THERE = ("plain", "permuted", "redundant", "louder distractor", "rank 3 of 48", "copied and carried")
NOTHING = ("absent", "illusory", "shuffled", "untrained", "illusory, columns to spare", "illusory in part")
"""Structures whose variable is there, and those where it is not or nothing reads it."""

INPUTS = tuple(f"{name}: its inputs" for name in INPUTS_ALONE)
"""Those whose site holds what the variable is computed from, and nothing else."""

SIZES = {
    "train_pairs": 384, "val_pairs": 128, "test_pairs": 200, "steps": 100, "check_every": 50, "chosen_seeds": 1,
    "closed_forms": [], "families": {"flip": 0.4, "keep": 0.4, "only": 0.2}, "logger": "none",
}  # fmt: skip
"""`only` is what lat goes by."""

SAE = {"latents": 64, "k": 8, "tokens": 2000, "steps": 100, "batch": 256, "lr": 1e-2}


def judged(name: str, draw: int, finders: Sequence[str] = FINDERS, **settings: Any) -> Iterator[dict[str, Any]]:
    """A draw of a structure with the verdicts on what each finder found, a row each."""
    structure = STRUCTURES[name]
    steps = {key: value for key, value in structure.settings.items() if key in ("steps", "check_every")}
    planted, settings = structure.make(draw), SIZES | {"seed": draw} | steps | settings
    with tempfile.TemporaryDirectory() as folder:
        kinds = {kind: finder for finder in finders for kind in kinds_of(finder, planted, Path(folder))}
        labels = {parse_kind(kind).label: finder for kind, finder in kinds.items()}
        first, *beside = kinds
        made = Experiment(planted.task, planted.lm, **planted.search, **settings, subspace=first, beside=beside)
        (entry,) = made.run(Path(folder) / "run").summary["hypotheses"].values()
    for label, found in {entry["subspace"]: entry, **entry["beside"]}.items():
        yield {
            "structure": name, "draw": draw, "finder": labels[label], "verdict": found["verdict"]["verdict"],
            "expected": structure.expected, "iia": found["test_iia"], "low": found["test_ci"][0],
            "flip_iia": found["test_flip_iia"], "rank": found["rank"], "why": found["verdict"]["sentence"],
        }  # fmt: skip


def kinds_of(finder: str, planted: Planted, folder: Path) -> Iterator[str]:
    """A finder by its kind's name; of dictionaries one for each place that is searched, trained on the task's prompts."""
    if finder != "dictionary":
        yield finder
        return
    sites = Experiment(planted.task, planted.lm, **planted.search).sites
    for i, spot in enumerate(dict.fromkeys(site.spot for site in sites)):
        fit_sae(spot, planted.lm, planted.task, folder / f"sae{i}", **SAE)
        yield f"dictionary:{folder / f'sae{i}'},k=8"


def summary(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Per finder: how often “supported” is said where the variable is there, and where it is not."""
    for finder in dict.fromkeys(row["finder"] for row in rows):
        mine = [row for row in rows if row["finder"] == finder]
        there = [row for row in mine if row["expected"] == "supported"]
        nothing = [row for row in mine if row["expected"] != "supported"]
        iia = sum(row["iia"] for row in there) / max(1, len(there))
        yield {"finder": finder, "where it is": supported(there), "IIA there": iia, "where it is not": supported(nothing)}


def supported(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"{sum(row['verdict'] == 'supported' for row in rows)} of {len(rows)}"


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--draws", type=int, default=10, help="networks per structure where there is nothing")
    parser.add_argument("--there", type=int, default=1, help="networks per structure where there is something")
    parser.add_argument("--inputs", type=int, default=1, help="networks per structure where there are the inputs alone")
    arguments = parser.parse_args()
    gallery.figures = lambda _: []  # which takes longer than a finder
    rows = gauge.kept_rows(arguments.json)
    asked = [(THERE, arguments.there), (NOTHING, arguments.draws), (INPUTS, arguments.inputs)]
    networks = [(name, draw) for names, draws in asked for draw in range(draws) for name in names]
    for name, draw in [each for each in networks if each not in {(row["structure"], row["draw"]) for row in rows}]:
        found = list(judged(name, draw))
        print(f"{name}, {draw}:", "; ".join(f"{row['finder']} {row['verdict']}" for row in found), flush=True)
        rows += found
        gauge.write_json(arguments.json, rows)
    print()
    gauge.table(list(summary(rows)))


if __name__ == "__main__":
    main()
