"""Progress of long work, told to whoever listens: nobody, a terminal, or the process that started this one."""

from __future__ import annotations

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


class Console:
    """Progress bars in the terminal, with elapsed and remaining time; plain lines where the output is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console = RichConsole(highlight=False, soft_wrap=True)
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
        if not self.console.is_terminal:
            self.say(name)
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
