"""What does training add to a difference in means, and what does its loss have to do with it?

    python benchmarks/losses.py --json benchmarks/results/losses.json

At three sites of the shipped price tagger, on the same fresh pairs, half of which flip the answer: the difference in means,
and trained directions by kind and loss. Beside the IIA stand its two halves: over the pairs whose answer should flip, and over
those whose answer should stay. One thread.
"""

from __future__ import annotations

from dataclasses import replace

import gauge

from das import Experiment
from das.find.diffmeans import DiffMeans
from das.find.kinds import parse_kind
from das.find.schedule import Schedule
from das.find.search import Search, align
from das.interchange.measures import LOSSES
from das.interchange.score import score

NAME = "left_boundary"
TRAINED = [(kind, loss) for kind in ("fixed:k=1", "nested:k=8") for loss in ("cross_entropy", "probability")]


def rows(steps, pairs):
    """A row per site and what was found there."""
    asked = Experiment(
        "price_tagging", "price-tagger-tiny", hypotheses=[NAME], layers=[3, 4, 5], positions=["last"], test_pairs=pairs
    )
    material, cells = asked.material(), asked.grid()
    search = Search(material.engine, material.data, Schedule(steps, 64, 25))
    found = {("diffmeans", None): align([replace(cell, kind=DiffMeans()) for cell in cells], search)}
    for kind, loss in TRAINED:
        mine = replace(search, schedule=replace(search.schedule, loss=LOSSES[loss]))
        found[kind, loss] = align([replace(cell, kind=parse_kind(kind)) for cell in cells], mine)
    flips = material.data["test"].pairs[NAME].flips
    for (kind, loss), alignments in found.items():
        wanted = {a.cell.site: (NAME, a.cell.site, [a.feature]) for a in alignments}
        for (site, (hits,)), a in zip(score(material.engine, material.data["test"], wanted).items(), alignments, strict=True):
            yield {
                "layer": site.layer, "found by": kind, "loss": loss, "rank": a.rank, "iia": hits.mean(),
                "flip": hits[flips].mean(), "stay": hits[~flips].mean(), "pairs": len(hits),
            }  # fmt: skip


def main():
    parser = gauge.parser(__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--pairs", type=int, default=4000, help="fresh pairs that are scored")
    arguments = parser.parse_args()
    found = sorted(rows(arguments.steps, arguments.pairs), key=lambda row: row["layer"])
    gauge.write_json(arguments.json, found)
    gauge.table([{k: f"{v:.3f}" if k in ("iia", "flip", "stay") else v or "–" for k, v in row.items()} for row in found])


if __name__ == "__main__":
    main()
