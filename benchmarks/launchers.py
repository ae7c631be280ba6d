"""Where a run's jobs are done must not matter: one process, two, Ray, Ray with actors that are killed, and shards.

    python benchmarks/launchers.py --json benchmarks/results/launchers.json

Runs one configuration in each of these ways, each by the command line in a folder of its own, and holds every table and every
alignment against those of one process, byte by byte. For Ray with two actors: how much longer it takes than two processes,
without the start of the cluster and of the actors. One thread per worker.
"""

from __future__ import annotations

import filecmp
import os
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gauge
import psutil

SETTINGS = """task: price_tagging
lm: price-tagger-tiny
hypotheses: [left_boundary, midpoint]
layers: [1, 2, 3]
positions: [last-3..last]
subspace: nested:k=16
chosen_seeds: 2
nulls: 2
train_pairs: 1024
val_pairs: 256
test_pairs: 500
steps: 60
check_every: 20
threads: 1
memory: 2
logger: none
"""

TABLES = "results.parquet", "examples.parquet"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--config", type=Path, help="another configuration than the built-in one")
    parser.add_argument("--every", type=float, default=30, help="seconds between two kills of an actor")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = options.config.resolve() if options.config else place / "run.yaml"
        if not options.config:
            config.write_text(SETTINGS)
        rows = [one(place, config, arm, options.every) for arm in options.arms]
    gauge.table(rows)
    if options.json:
        gauge.write_json(options.json, rows, config=str(options.config or "built in"), every=options.every)


# --- one arm ---


def one(place: Path, config: Path, arm: str, every: float) -> dict[str, Any]:
    """Runs it, and holds what it wrote against the first arm's."""
    out, start, killed = place / arm.replace(" ", "-"), time.monotonic(), []
    with killing(every, killed) if "killed" in arm else nothing():
        ARMS[arm](config, out)
    seconds, alike = time.monotonic() - start, [path for path in TABLES if same(place, out, Path(path))]
    cells = sorted(path.relative_to(out) for path in (out / "cells").glob("*/alignment.safetensors"))
    equal = [cell for cell in cells if same(place, out, cell)]
    return {
        "arm": arm, "seconds": round(seconds, 1), "actors killed": len(killed),
        "tables equal": f"{len(alike)} of {len(TABLES)}",
        "alignments equal": f"{len(equal)} of {len(cells)}",
    }  # fmt: skip


def same(place: Path, out: Path, path: Path) -> bool:
    """Whether a file is what one process has written."""
    return filecmp.cmp(place / FIRST.replace(" ", "-") / path, out / path, shallow=False)


def das(
    config: Path, out: Path, *words: str, said: Any = subprocess.PIPE, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """A run, begun. said: where what it says goes."""
    command = [sys.executable, "-m", "das", "run", str(config), "--out", str(out), *words]
    around = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)} | (environment or {})
    return subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, text=True, env=around)


def ended(*runs: subprocess.Popen[str]) -> None:
    for run in runs:
        said = run.communicate()[0]
        if run.returncode:
            raise SystemExit(f"{shlex.join(map(str, run.args))} ended with {run.returncode}:\n{said}")  # type: ignore[arg-type]


def with_words(*words: str) -> Callable[[Path, Path], None]:
    return lambda config, out: ended(das(config, out, *words))


def shards(config: Path, out: Path) -> None:
    """Four, two at a time."""
    for pair in ((1, 2), (3, 4)):
        ended(*[das(config, out, "--shard", f"{i}/4") for i in pair])


FIRST = "one process"
ARMS: dict[str, Callable[[Path, Path], None]] = {
    FIRST: with_words(), "two processes": with_words("--workers", "2"),
    "Ray, two actors": with_words("--workers", "2", "--launcher", "ray"),
    "Ray, actors killed": with_words("--workers", "2", "--launcher", "ray"), "four shards": shards,
}  # fmt: skip


# --- kills ---


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def killing(every: float, killed: list[int]) -> Iterator[None]:
    """Kills one of the actors of this machine every so many seconds."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(every):
            if actors := list(actors_here()):
                victim = random.choice(actors)
                victim.kill()
                killed.append(victim.pid)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def actors_here() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name", "cmdline"]):
        title = " ".join([process.info["name"] or "", *(process.info["cmdline"] or [])])
        if "ray::_Actor" in title:
            yield process


if __name__ == "__main__":
    main()
