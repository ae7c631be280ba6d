"""Progress of long work, told to whoever listens: nobody, a terminal, a file, or the process that started this one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Left:
    """How long a task will take yet, said once in `every` seconds: by its mean speed since it began, and half by what was last
    said, so that one slow spell moves it little. What was done before it began is no speed."""

    def __init__(self, total: float, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.every, self.clock, self.said = total, every, clock, clock()
        self.first: tuple[float, float] | None = None
        self.last: float | None = None

    def step(self, done: float) -> float | None:
        """Seconds left, where it is time to say so and there is something to go by."""
        now = self.clock()
        self.first = self.first or (now, done)
        begun, before = self.first
        if now - self.said < self.every or done <= before:
            return None
        left = (self.total - done) * (now - begun) / (done - before)
        self.last = left if self.last is None else (left + max(0.0, self.last - (now - self.said))) / 2
        self.said = now
        return self.last


def about(seconds: float) -> str:
    """
    >>> [about(s) for s in (12, 59, 95, 1000, 5400, 20000)]
    ['under a minute', 'under a minute', 'about 2 min', 'about 17 min', 'about 90 min', 'about 5.6 h']
    """
    if seconds < 60:
        return "under a minute"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"


class Bars:
    """Progress bars in the terminal, with elapsed and remaining time."""

    def __init__(self, every: float = 5) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.console, self.every = Console(highlight=False, soft_wrap=True), every
        self.bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TextColumn("{task.fields[left]}", markup=False),
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
        bar, told = self.bars.add_task(name, total=total, note="", left=""), Left(total, self.every)

        def step(done: float, note: str) -> None:
            if (left := told.step(done)) is not None:
                self.bars.update(bar, left=f"left {about(left)}")
            self.bars.update(bar, completed=done, note=note)

        try:
            yield step
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
        told = Left(total, self.every, self.clock)

        def step(done: float, note: str) -> None:
            if (left := told.step(done)) is not None:
                self.say("  ".join([name, f"{done:.6g}/{total:.6g}", *filter(None, [note]), f"left {about(left)}"]))

        yield step
