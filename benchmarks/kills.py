"""Kills and damage: does a run that was killed, stopped or damaged end with the same tables?

Small runs of arithmetic, with one and two workers, nulls and a budget, are killed at random moments (SIGKILL, SIGTERM, SIGINT;
to the whole group of processes or to the parent alone), repeated, and compared with an undisturbed one. Then every file of a
finished run is removed, cut, emptied and has a bit turned over; the run is used as it is, and repeated: *same* means that all
it says is as before, *clear* that one `DasError` says what is wrong.

    python benchmarks/kills.py --kills 30 --json out.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from das import DasError, Experiment, Run

SMALL: dict[str, Any] = {
    "layers": [1], "positions": ["last"], "steps": 2, "train_pairs": 20, "val_pairs": 20, "test_pairs": 20, "chosen_seeds": 1,
    "subspace": "nested:k=2", "nulls": 2, "budget": 1.0, "threads": 1,
}  # fmt: skip
SIGNALS = [(s, group) for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) for group in (True, False)]


def start(out: Path, workers: int, errors: Path) -> subprocess.Popen[bytes]:
    options = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in SMALL.items()]
    command = [sys.executable, "-m", "das", "run", "arithmetic", "--lm=arithmetic-tiny", f"--workers={workers}", f"--out={out}"]
    with errors.open("wb") as file:
        return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)


def alive(session: int) -> list[int]:
    """Processes of a session that still do something."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getsid(process.info["pid"]) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.info["pid"])
        except ProcessLookupError:
            continue
    return found


def same(a: Path, b: Path) -> dict[str, bool]:
    tables = [Run(path).results() for path in (a, b)]
    summaries = [{k: v for k, v in Run(path).summary.items() if k not in ("wall_seconds", "versions")} for path in (a, b)]
    return {"results": tables[0].equals(tables[1]), "summary": summaries[0] == summaries[1]}


def killed(out: Path, workers: int, number: signal.Signals, group: bool, after: float) -> dict[str, Any]:
    """One run, stopped after so many seconds and repeated: how it ended, and how long its processes lived on."""
    errors = out.with_suffix(".err")
    process = start(out, workers, errors)
    time.sleep(after)
    if process.poll() is not None:
        return {"late": True}
    (os.killpg if group else os.kill)(process.pid, number)
    sent = time.monotonic()
    while alive(process.pid) and time.monotonic() - sent < 120:
        process.poll()
        time.sleep(0.05)
    gone, said = time.monotonic() - sent, errors.read_text().strip()
    row = {"workers": workers, "signal": number.name, "group": group, "after": round(after, 1), "gone": round(gone, 2)}
    row |= {"status": process.wait(), "said": said}
    again = start(out, workers, errors)
    return row | {"finished": again.wait() == 0, "then": errors.read_text().strip()}


def kills(folder: Path, count: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for workers in (1, 2) if count else (1,):
        began = time.monotonic()
        assert start(folder / f"whole{workers}", workers, folder / "whole.err").wait() == 0
        lasted = time.monotonic() - began
        for i in range(count // 2):
            number, group = SIGNALS[i % len(SIGNALS)]
            out = folder / f"killed{workers}-{i}"
            row = killed(out, workers, number, group, float(rng.uniform(0.5, lasted)))
            if row.get("finished"):
                row |= same(folder / f"whole{workers}", out)
            print(row, flush=True)
            yield row


# --- damage ---


def damaged(path: Path, how: str, rng: np.random.Generator) -> None:
    body = bytearray(path.read_bytes())
    if how == "bit":
        body[rng.integers(len(body))] ^= 1 << int(rng.integers(8))
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes({"cut": body[: len(body) // 2], "empty": b"", "bit": body}[how])


def use(out: Path) -> list[Any]:
    """All that a run says when it is opened."""
    run = Run.open(out)
    said: list[Any] = [run.summary, *(table.to_json() for table in (run.table(), run.results(), run.nulls(), run.screened()))]
    for a in [run.alignment(cell) for cell in run.found()["cell"]]:
        name = a.cell.hypothesis
        said += [repr(a.cell), a.feature.basis.tolist(), run.hits(a.cell).tolist(), run.scorecard(a.cell), run.failures(name)]
        said += [run.natural(a.cell).hits.tolist(), run.test_bases(name).tolist()]
    return said


def outcome(work: Any) -> str:
    try:
        return "same" if work() else "silently different"
    except DasError as error:
        return f"clear: {error}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"


def damages(folder: Path, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    whole, out = folder / "whole1", folder / "damaged"
    expected = use(whole)
    Run.figures = lambda _: []  # type: ignore[method-assign]  # they are not compared
    files = [
        p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file() and p.suffix != ".png" and "logs" not in p.parts
    ]
    for file in files:
        for how in ("removed", "cut", "empty", "bit"):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(whole, out)
            damaged(out / file, how, rng)
            used = outcome(lambda: use(out) == expected)

            def repeat() -> bool:
                Experiment("arithmetic", "arithmetic-tiny", **SMALL).run(out)
                return all(same(whole, out).values())

            row = {"file": str(file), "how": how, "used": used, "repeated": outcome(repeat)}
            print(row, flush=True)
            yield row


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    hit = [row for row in rows if "signal" in row]
    body: dict[str, Any] = {"kills": len(hit)}
    body |= {name: sum(bool(row.get(name)) for row in hit) for name in ("finished", "results", "summary")}
    for name, group in SIGNALS:
        mine = [row["gone"] for row in hit if (row["signal"], row["group"]) == (name.name, group)]
        body[f"seconds until all are gone, {name.name} {'group' if group else 'parent'}"] = max(mine, default=None)
    for name, status in (("SIGTERM", 143), ("SIGINT", 130)):
        mine = [row for row in hit if row["signal"] == name]
        right = [r for r in mine if r["status"] == status and r["said"] == "das: stopped; the same command goes on from here"]
        body[f"one line and status {status}"] = f"{len(right)} of {len(mine)}"
    for name in ("used", "repeated"):
        body[f"damage, {name}"] = dict(Counter(row[name].partition(":")[0] for row in rows if "file" in row))
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-damage", action="store_true")
    parser.add_argument("--json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell may have it ignored, and what is ignored is handed on
    rng = np.random.default_rng(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(kills(Path(folder), given.kills, rng))
        rows += [] if given.no_damage else list(damages(Path(folder), rng))
    print(json.dumps(counted(rows), indent=1))
    if given.json:
        Path(given.json).write_text(json.dumps({"counts": counted(rows), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
