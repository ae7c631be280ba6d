"""Progress of long work, told to whoever listens: nobody, a terminal, a file, or the process that started this one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

Step = Callable[[float, str], None]
"""How far a task is, in its own units, and a short note."""


class Reporter(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def task(self, name: str, total: float) -> Any:
        """A context manager that gives a `Step`."""


class _Silent:
    def say(self, text: str) -> None:
        pass

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Step]:
        yield lambda done, note: None


silent: Reporter = _Silent()


class Watched:
    """Tells another reporter, and calls `look` after every step."""

    def __init__(self, report: Reporter, look: Callable[[], None]) -> None:
        self.say, self.look, self._task = report.say, look, report.task

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Step]:
        with self._task(name, total) as step:

            def told(done: float, note: str) -> None:
                step(done, note)
                self.look()

            yield told


def console() -> Reporter:
    """Bars where standard output is a terminal, lines where it is a file or a pipe."""
    return Bars() if sys.stdout.isatty() else Lines()


class Bars:
    """Progress bars in the terminal, with elapsed and remaining time."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console = Console(highlight=False, soft_wrap=True)
        self.bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False), console=self.console,
        )  # fmt: skip
        self.running = 0

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Step]:
        if not self.running:
            self.bars.start()
        self.running += 1
        bar = self.bars.add_task(name, total=total, note="")
        try:
            yield lambda done, note: self.bars.update(bar, completed=done, note=note)
        finally:
            self.bars.update(bar, visible=False)
            self.running -= 1
            if not self.running:
                self.bars.stop()


class Lines:
    """Plain lines: a task's name as it begins, then how far it is and how long it will take, once in `every` seconds."""

    def __init__(self, every: float = 30, clock: Callable[[], float] = time.monotonic) -> None:
        self.every, self.clock = every, clock

    def say(self, text: str) -> None:
        print(text, flush=True)

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Step]:
        self.say(name)
        began = said = self.clock()
        first: float | None = None

        def step(done: float, note: str) -> None:
            nonlocal first, began, said
            now = self.clock()
            if first is None:
                first, began = done, now
            elif now - said >= self.every and done > first:
                said = now
                left = timedelta(seconds=round((total - done) * (now - began) / (done - first)))
                self.say("  ".join([name, f"{done:.6g}/{total:.6g}", *filter(None, [note]), f"left {left}"]))

        yield step
