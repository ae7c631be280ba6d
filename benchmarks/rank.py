"""Does each learned subspace find a planted rank, with nothing set?

    python benchmarks/rank.py --json out.json

Plants a variable in a known random subspace of networks of two widths that are built otherwise than those of
`das.planted.planting` (see `codes`), trains `Nested` and `Boundless` there at their defaults through the public API, and
compares what they find with what was planted.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from pathlib import Path

import codes
import gauge

from das import Boundless, Experiment, Nested
from das.interchange.subspace import largest_angle

RANKS, WIDTHS, SEEDS = (1, 2, 3, 4, 5, 6, 8, 10, 12), (64, 96), 3

EXACT = 8
"""Up to here a code of signs needs every direction; of twelve, a swap of eleven already gives .99 of the answers."""


def rows(ranks, widths, readings, seeds, **settings):
    """What both kinds find in each network."""
    for reading, planted, width, seed in itertools.product(readings, ranks, widths, range(seeds)):
        network = codes.planted(reading, planted, width, seed)
        with tempfile.TemporaryDirectory() as folder:
            run = Experiment(
                network.task, network.lm, layers=[0], positions=["last"], subspace=Nested(), beside=[Boundless()],
                chosen_seeds=1, closed_forms=[], seed=seed, logger="none", **settings,
            ).run(Path(folder) / "run")  # fmt: skip
            for entry in run.table().itertuples():
                alignment = run.alignment(entry.cell)
                angle = largest_angle(alignment.feature.basis[:, 0, : alignment.rank], network.basis)
                yield {
                    "reading": reading, "width": width, "subspace": type(alignment.cell.kind).__name__, "planted": planted,
                    "found": alignment.rank, "iia": entry.test_iia, "angle": angle, "seed": seed,
                }  # fmt: skip


def summary(table):
    """Per kind and reading: how many ranks are exact up to `EXACT`, how many within one above, and the median angle."""
    for kind, reading in itertools.product(("Nested", "Boundless"), codes.READINGS):
        mine = [row for row in table if row["subspace"] == kind and row["reading"] == reading]
        low, high = ([row for row in mine if (row["planted"] > EXACT) == above] for above in (False, True))
        exact, near = (sum(abs(row["found"] - row["planted"]) <= off for row in some) for some, off in ((low, 0), (high, 1)))
        yield {
            "subspace": kind, "reading": reading, f"exact, to {EXACT}": f"{exact}/{len(low)}",
            "within 1, above": f"{near}/{len(high)}", "least IIA": min((row["iia"] for row in mine), default=0.0),
            "median angle": statistics.median([row["angle"] for row in mine] or [0.0]),
        }  # fmt: skip


def main():
    parser = gauge.parser(__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--readings", nargs="+", choices=list(codes.READINGS), default=list(codes.READINGS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="networks of each sort")
    arguments = parser.parse_args()
    print("reading  width  subspace   planted  found    IIA   angle  seed")
    table = []
    for row in rows(arguments.ranks, arguments.widths, arguments.readings, arguments.seeds):
        table.append(row)
        line = "{reading:<7}  {width:>5}  {subspace:<9}  {planted:>7}  {found:>5}  {iia:>5.3f}  {angle:>5.1f}°  {seed}"
        print(line.format(**row), flush=True)
        gauge.write_json(arguments.json, table)
    print()
    gauge.table(list(summary(table)))


if __name__ == "__main__":
    main()
