"""Which finder reads, and which one acts? Every finder at the same sites, on the same pairs, before the same judge.

    python benchmarks/finders.py --json benchmarks/results/finders.json --figure benchmarks/results/finders.png

A row per case (a hypothesis at a site of a network that is trained for its task) and finder: how well the variable is read from
what was found (held-out accuracy, less that for arbitrary values), what swapping it does (IIA, and on the pairs that flip the
answer), what else it moves (isolate), what resampling it costs and putting it back restores, its size, what finding it took
(processor seconds, captures among them), the verdict, and how far its IIA is from that of the first finder, with the 95 %
interval of the same pairs. The figure has a point per finder and case: reading against acting.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import gauge
from matplotlib.figure import Figure

from das import Experiment
from das.draw.outcome import evidence_figures
from das.find.search import Search, align
from das.stats import Bootstrap

CASES = {
    "boundary, layer 1": ("price_tagging", "price-tagger-tiny", "left_boundary", 1, "last-12"),
    "boundary, layer 3": ("price_tagging", "price-tagger-tiny", "left_boundary", 3, "last"),
    "both boundaries": ("price_tagging", "price-tagger-tiny", "left_and_right", 3, "last"),
    "agreement": ("agreement", "smollm2-135m", "number", 12, "subject.last"),
}
FINDERS = [
    "nested:k=8", "boundless:k=8", "fixed:k=1", "neurons:k=16", "diffmeans", "lat", "probe", "pca", "random:k=1", "full",
]  # fmt: skip
SETTINGS = {
    "closed_forms": [], "chosen_seeds": 1, "train_pairs": 2048, "val_pairs": 512, "test_pairs": 1000, "steps": 150,
    "nulls": 2, "logger": "none", "threads": 1,
}  # fmt: skip


def case_rows(name, finders, **changes):
    """The rows of a case, those of `finders[0]` first: the others are held against it."""
    task, lm, hypothesis, layer, position = CASES[name]
    first = None
    for finder in finders:
        settings = SETTINGS | {"hypotheses": [hypothesis], "layers": [layer], "positions": [position]} | changes
        made = Experiment(task, lm, subspace=finder, **settings)
        seconds = cost(made)
        with tempfile.TemporaryDirectory() as folder:
            run = made.run(Path(folder) / "run")
            (entry,) = run.summary["hypotheses"].values()
            hits = run.hits(made.refinement({hypothesis: made.sites[0]})[0])
            prompts = run.test_prompts(hypothesis)
        first = hits if first is None else first
        apart = Bootstrap(prompts).difference(hits, first)
        yield {
            "case": name, "finder": finder, **evidence_figures(entry["scorecard"]), "iia": entry["test_iia"],
            "flip_iia": entry["test_flip_iia"], "size": entry["rank"], "seconds": seconds,
            "verdict": entry["verdict"]["verdict"], "to_first": apart.mean, "low": apart.low, "high": apart.high,
        }  # fmt: skip


def cost(made):
    """Processor seconds that a finder takes for the cell."""
    material = made.material()
    search = Search(material.engine, material.data, made.schedule, room=2**32)
    started = time.process_time()
    align(made.grid(), search)
    return time.process_time() - started


COLUMNS = [
    "case",
    "finder",
    "decoding",
    "selectivity",
    "iia",
    "flip_iia",
    "isolate",
    "ablation",
    "recovery",
    "size",
    "seconds",
    "verdict",
]


def told(row):
    """A row as the table has it."""
    figures = {name: f"{row[name]:.3f}" if isinstance(row[name], float) else row[name] or "–" for name in COLUMNS}
    return figures | {
        "size": f"{row['size']:g}",
        "to first": f"{row['to_first']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
    }


def figure(rows):
    """Reading against acting, a point per finder and case."""
    drawn = Figure(figsize=(7, 5), layout="constrained")
    ax, marks = drawn.subplots(), dict(zip(dict.fromkeys(row["case"] for row in rows), "osD^vP*X", strict=False))
    finders = list(dict.fromkeys(row["finder"] for row in rows))
    for row in rows:
        ax.plot(row["selectivity"], row["flip_iia"], marks[row["case"]], color=f"C{finders.index(row['finder'])}", markersize=9)
    for name in finders:
        ax.plot([], [], "o", color=f"C{finders.index(name)}", label=name)
    for name, mark in marks.items():
        ax.plot([], [], mark, color="0.4", label=name)
    ax.set_xlabel("reads: held-out decoding less that of arbitrary values")
    ax.set_ylabel("acts: IIA on pairs that flip the answer")
    ax.set_ylim(-0.02, 1.02)
    ax.grid(alpha=0.3)
    drawn.legend(loc="outside right upper", fontsize=8)
    return drawn


def main():
    parser = gauge.parser(__doc__)
    parser.add_argument("--figure", type=Path, help="where to draw reading against acting")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--finders", nargs="+", default=FINDERS, metavar="KIND")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.cases:
        for row in case_rows(name, arguments.finders):
            rows.append(row)
            print("  ".join(f"{value}" for value in told(row).values()), flush=True)
            gauge.write_json(arguments.json, rows)
    print()
    gauge.table([told(row) for row in rows])
    if arguments.figure:
        figure(rows).savefig(arguments.figure, dpi=150)


if __name__ == "__main__":
    main()
