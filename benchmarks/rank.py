"""Does each learned subspace find a planted rank?

    python benchmarks/rank.py --json out.json

Plants a variable in a known random subspace of rank 1, 2, 4 and 8 of a network of width 64, trains `Nested` and `Boundless`
(k = 32) there with three seeds each through the public API, and compares what they find with what was planted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import gauge

from das import Boundless, Experiment, Nested
from das.planted import plant
from das.subspace import largest_angle

STEPS, BATCH, K = 600, 256, 32


def rows(ranks=(1, 2, 4, 8), seeds=(0, 1, 2), steps=STEPS):
    for planted in ranks:
        for seed in seeds:
            network = plant(planted, seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                run = Experiment(
                    network.task, network.lm, layers=[0], positions=["last"], subspace=Nested(k=K), beside=[Boundless(k=K)],
                    chosen_seeds=1, steps=steps, batch=BATCH, check_every=steps, seed=seed, logger="none",
                    test_pairs=1000, val_pairs=1000, train_pairs=8192,
                ).run(Path(folder) / "run")  # fmt: skip
                for entry in run.table().itertuples():
                    alignment = run.alignment(entry.cell)
                    columns = alignment.hard.basis[:, 0, : int(alignment.rank)]
                    yield {
                        "subspace": type(alignment.cell.kind).__name__, "planted": planted, "found": alignment.rank,
                        "iia": entry.test_iia, "angle": largest_angle(columns, network.basis), "seed": seed,
                    }  # fmt: skip


def main():
    parser = gauge.parser(__doc__)
    arguments = parser.parse_args()
    print(f"{'subspace':<10} {'planted':>7} {'found':>5} {'IIA':>6} {'angle':>6}  seed")
    table = []
    for row in rows():
        table.append(row)
        print("{subspace:<10} {planted:>7} {found:>5} {iia:>6.3f} {angle:>5.1f}°  {seed}".format(**row), flush=True)
    for name in ("Nested", "Boundless"):
        mine = [row for row in table if row["subspace"] == name]
        exact = sum(row["found"] == row["planted"] and row["iia"] >= 0.99 for row in mine)
        print(f"{name}: exact rank with IIA ≥ .99 in {exact} of {len(mine)}")
    gauge.write_json(arguments.json, table)


if __name__ == "__main__":
    main()
