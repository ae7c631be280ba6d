"""Faults on a cluster: the driver, its actors and its workers are killed at random moments; is anything lost?

    python benchmarks/faults.py --kills 20 --json benchmarks/results/faults.json

One run of `benchmarks/launchers.py`'s configuration for each of three arms: `kill -9` of the process that was started with two
Ray actors, of one of its actors, and of one of two worker processes. What ends is started anew, until there were so many kills;
then it is left to finish. After each kill it is held against what was there before: finished cells that are gone (lost), or
were written once more (twice), and files that were found damaged (half-written). At the end all tables and alignments are held
against those of an undisturbed run, byte by byte. `node`: a node of a cluster of two leaves while it is at work.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

import gauge
import psutil
from launchers import SETTINGS, TABLES, actors_here, das, ended, same

RAY, PROCESSES = ("--workers", "2", "--launcher", "ray"), ("--workers", "2")
DAMAGED = "missing or damaged"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each arm")
    parser.add_argument("--config", type=Path, help="another configuration than the built-in one")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, "node"], default=[*ARMS, "node"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = options.config.resolve() if options.config else place / "run.yaml"
        if not options.config:
            config.write_text(SETTINGS)
        start = time.monotonic()
        ended(das(config, place / "one-process"))
        lasted, rows = time.monotonic() - start, []
        for arm in options.arms:
            rows.append(node(place, config) if arm == "node" else killed(place, config, arm, options.kills, lasted))
            gauge.table(rows[-1:])
            if options.json:
                gauge.write_json(options.json, rows, config=str(options.config or "built in"), seed=options.seed)


# --- kills ---


def worker_of(run: Popen[str]) -> list[psutil.Process]:
    """The processes that a run has forked for its jobs."""
    children = psutil.Process(run.pid).children(recursive=True)
    return [child for child in children if "forkserver" in " ".join(child.cmdline()) and child.children() == []]


ARMS: dict[str, tuple[tuple[str, ...], Callable[[Popen[str]], list[psutil.Process]]]] = {
    "driver": (RAY, lambda run: [psutil.Process(run.pid)]), "actor": (RAY, lambda run: list(actors_here())),
    "worker": (PROCESSES, worker_of),
}  # fmt: skip


def killed(place: Path, config: Path, arm: str, kills: int, lasted: float) -> dict[str, Any]:
    """One run, with so many kills on its way."""
    words, victims = ARMS[arm]
    row: dict[str, Any] = {"arm": arm, "kills": 0, "starts": 0, "lost": 0, "twice": 0, "half-written": 0}
    out, before, start = place / arm, dict[str, int](), time.monotonic()
    while True:
        row["starts"] += 1
        with (place / "said.txt").open("w+") as said:
            run = das(config, out, *words, said=said)
            while row["kills"] < kills and not _over(run, random.uniform(1, lasted / 2)):
                row["kills"] += _kill(victims, run)
            status = run.wait()
            said.seek(0)
            row["half-written"] += said.read().count(DAMAGED)
        now = cells(out)
        row["lost"] += len(before.keys() - now.keys())
        row["twice"] += sum(before[cell] != now[cell] for cell in before.keys() & now.keys())
        before = now
        if status == 0 and row["kills"] >= kills:
            return row | {"seconds": round(time.monotonic() - start), **held(place, out)}
        if status == 0:  # it was done before there were enough
            before = {}
            shutil.rmtree(out)


def _over(run: Popen[str], seconds: float) -> bool:
    """Waits so long, or until the run has ended; whether it has."""
    deadline = time.monotonic() + seconds
    while run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return run.poll() is not None


def _kill(victims: Callable[[Popen[str]], list[psutil.Process]], run: Popen[str]) -> bool:
    """Kills one of them; whether there was one."""
    try:
        some = victims(run)
        if some:
            random.choice(some).kill()
    except psutil.NoSuchProcess:
        return False
    return bool(some)


def cells(out: Path) -> dict[str, int]:
    """Finished cells → when they were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "cells").glob("[!.]*/card.json")}


def held(place: Path, out: Path) -> dict[str, str]:
    """How much of it is as one undisturbed process has written it."""
    alignments = [path.relative_to(out) for path in (out / "cells").glob("*/alignment.safetensors")]
    tables = sum(same(place, out, Path(path)) for path in TABLES)
    equal = sum(same(place, out, path) for path in alignments)
    return {"tables equal": f"{tables} of {len(TABLES)}", "alignments equal": f"{equal} of {len(alignments)}"}


# --- a node that leaves ---


def node(place: Path, config: Path) -> dict[str, Any]:
    """A cluster of two nodes on this machine, one of which goes while the run is at work, and another one comes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        leaving, start = cluster.add_node(num_cpus=1), time.monotonic()
        run = das(config, place / "node", *RAY, environment={"RAY_ADDRESS": cluster.address})
        while not cells(place / "node") and run.poll() is None:
            time.sleep(0.1)
        cluster.remove_node(leaving, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        ended(run)
        row = {"arm": "node", "kills": 1, "starts": 1, "lost": 0, "twice": 0, "half-written": 0}
        return row | {"seconds": round(time.monotonic() - start), **held(place, place / "node")}
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
