"""Mend: what of a run's folder is missing or damaged goes, with what belongs to it, so that it is made anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from das.ground.storage import forget_missing, intact, noted, remove, sweep
from das.progress import Reporter
from das.run.words import PROMPT, REPLIES, TEXTS

SCREEN, DEAD = "screen.parquet", "dead.parquet"
PARTS = DEAD, "screen-*.parquet"
"""Of the screen, as long as it is not there: how far swaps can move answers; and what a screen or a trace has found, for a
hypothesis each."""
RACE, RUNGS = "race.json", "race"
CELL = ("alignment.safetensors", "card.json", "hits.safetensors")
"""Without all of these a cell is none."""


def mend(folder: Path, report: Reporter) -> None:
    """Removes what killed processes left half-written, and all that is not as it was written. The folder must be held (see
    `das.run.lock`)."""
    sweep(folder)
    if (folder / SCREEN).exists():
        for part in (part for pattern in PARTS for part in folder.glob(pattern)):
            remove(part)
    for cell in sorted((folder / "cells").glob("[!.]*")):
        if broken := _broken([cell / name for name in CELL]):
            report.say(f"{broken} is missing or damaged: the cell is made anew")
            remove(cell)
    for group in _together(folder):
        if any(path.exists() for path in group) and (broken := _broken(group)):
            report.say(f"{broken} is missing or damaged: made anew")
            for path in group:
                remove(path)
    forget_missing(folder)


def _broken(group: Sequence[Path]) -> Path | None:
    return next((path for path in group if not intact(path)), None)


def _together(folder: Path) -> Iterator[list[Path]]:
    """The files that are of use together alone."""
    yield [folder / "pairs.parquet", folder / "audit.json"]
    for cell in sorted((folder / "cells").glob("[!.]*")):
        made = [REPLIES] if REPLIES in noted(cell) else []  # older runs have none
        yield [cell / name for name in ("scorecard.json", "natural.safetensors", *made)]
    raced = RACE, f"{RUNGS}/[!.]*.json"
    for pattern in (TEXTS, PROMPT, SCREEN, *PARTS, *raced, "failures_*.json", "nulls/[!.]*.parquet", "shifts/*/shift.json"):
        yield from ([path] for path in sorted(folder.glob(pattern)))
    for stem in sorted({path.with_suffix("") for path in folder.glob("shifts/*/from-*")}):
        yield [stem.with_name(stem.name + suffix) for suffix in (".parquet", ".safetensors")]
