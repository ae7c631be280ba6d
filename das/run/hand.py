"""Hand: what a process has at hand for the run whose jobs it does: the network and the pairs, loaded once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from das.progress import Reporter, silent
from das.run.folder import Folder
from das.run.layout import Layout
from das.run.settings import Settings
from das.run.work import Work
from das.run.workers import Job

_HAND = threading.local()


@contextmanager
def at_hand(work: Work) -> Iterator[None]:
    """Within it, jobs of the same run that this thread does find this work."""
    before, _HAND.work = getattr(_HAND, "work", None), work
    try:
        yield
    finally:
        _HAND.work = before


def job_of(settings: Settings, folder: Path, what: str, does: Callable[[Work], None]) -> Job:
    """A job for a run's work."""
    return Job(what, folder, partial(_do, settings, does))


def _do(settings: Settings, does: Callable[[Work], None], folder: Path, report: Reporter) -> None:
    work = _work(settings, folder)
    before, work.report = work.report, report
    try:
        does(work)
    finally:
        work.report = before


def _work(settings: Settings, folder: Path) -> Work:
    """What is at hand, if it is of this run; else it is made and kept for the next job, in the other's place."""
    kept: Work | None = getattr(_HAND, "work", None)
    if kept is None or (kept.run.folder, kept.layout.settings) != (folder, settings):
        _HAND.work = kept = None
        _HAND.work = kept = Work(Layout.from_settings(settings), Folder(folder), silent)
    return kept
