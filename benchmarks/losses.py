"""What does training add to a difference in means, and what do its loss and its pairs have to do with it?

    python benchmarks/losses.py --json benchmarks/results/losses.json

At sites of the shipped price tagger, and of the four tasks of SmolLM2-135M (after `make smollm2`), on the same fresh pairs,
half of which flip the answer: the difference in means, and as many trained directions as it has, by the loss and by how many
of the training pairs flip the answer. Beside the IIA stand its two halves: over the pairs whose answer should flip, and over
those whose answer should stay. One thread. Cases that the file has are not computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import finders
import gauge

from das import Experiment
from das.find.alignment import Alignment, Cell
from das.find.diffmeans import DiffMeans
from das.find.kinds import Fixed
from das.find.search import Search, align
from das.interchange.measures import LOSSES
from das.interchange.score import score

WAYS = [("cross_entropy", 0.5), ("cross_entropy", 0.6), ("probability", 0.5), ("probability", 0.6)]
"""Loss, and share of the training pairs that flip the answer."""

PRICES = {"test_pairs": 4000, "steps": 150, "check_every": 25}
SMOLLM2 = finders.SMOLLM2 | {"test_pairs": 400}


@dataclass(frozen=True)
class Case:
    """A hypothesis at a position of some layers of a network."""

    task: str
    lm: str
    hypothesis: str
    layers: Sequence[int]
    position: str
    sizes: Mapping[str, Any]

    def experiment(self, flips: float) -> Experiment:
        """With so large a share of pairs that flip the answer."""
        where: Any = {"hypotheses": [self.hypothesis], "layers": list(self.layers), "positions": [self.position]}
        return Experiment(self.task, self.lm, **where, **self.sizes, families={"flip": flips, "keep": 1 - flips})


def smollm2(task: str) -> Case:
    """Where the other benchmarks look at a task."""
    found = finders.CASES[task]
    assert found.hypothesis
    return Case(task, "smollm2-135m", found.hypothesis, [found.layer], found.position, SMOLLM2)


CASES = {"price_tagging": Case("price_tagging", "price-tagger-tiny", "left_boundary", [3, 4, 5], "last", PRICES)} | {
    task: smollm2(task) for task in ("agreement", "ioi", "copying", "countries")
}


def rows(case: Case) -> Iterator[dict[str, Any]]:
    """A row per layer and what was found there."""
    even = case.experiment(0.5)
    material, grid = even.material(), even.grid()
    search = Search(material.engine, material.data, even.schedule)
    test, name = material.data["test"], case.hypothesis
    flips = test.pairs[name].flips
    means = align([replace(cell, kind=DiffMeans()) for cell in grid], search)

    def told(found: Sequence[Alignment], by: str, share: float | None) -> Iterator[dict[str, Any]]:
        wanted = {a.cell.site: (name, a.cell.site, [a.feature]) for a in found}
        for a, (hits,) in zip(found, score(material.engine, test, wanted).values(), strict=True):
            scored = {"iia": hits.mean(), "flip": hits[flips].mean(), "stay": hits[~flips].mean(), "pairs": len(hits)}
            yield {"case": case.task, "layer": a.cell.site.layer, "found by": by, "flipping": share, "rank": a.rank, **scored}

    yield from told(means, "diffmeans", None)
    cells = [Cell(name, a.cell.site, Fixed(a.rank)) for a in means]
    for loss, share in WAYS:
        train = case.experiment(share).material().data["train"] if share != 0.5 else material.data["train"]
        here = Search(material.engine, material.data | {"train": train}, replace(even.schedule, loss=LOSSES[loss]))
        yield from told(align(cells, here), loss, share)


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    arguments = parser.parse_args()
    done = gauge.kept_rows(arguments.json)
    for name in [name for name in arguments.cases if name not in {row["case"] for row in done}]:
        done += sorted(rows(CASES[name]), key=lambda row: row["layer"])
        gauge.write_json(arguments.json, done)
        print(f"{name}: done", flush=True)
    gauge.table([{k: f"{v:.3f}" if isinstance(v, float) else v or "–" for k, v in row.items()} for row in done])


if __name__ == "__main__":
    main()
