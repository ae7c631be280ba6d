"""Workers: where the jobs of a stage are done. A stage hands over jobs and never knows who does them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from das.progress import Reporter, Step

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A part of a stage. what: as an error names it. folder: of the run. does: the work, given that folder, or where there is a
    mirror of it, and a reporter; it can be pickled where other processes are to do it.

    It may be done again, after its worker was lost or beside it: what it writes, all of it into the folder, is there whole or
    not at all, and the same both times.
    """

    what: str
    folder: Path
    does: Callable[[Path, Reporter], None]

    def __call__(self, report: Reporter) -> None:
        self.does(self.folder, report)


class Workers(Protocol):
    """Who does jobs. count: how many at once. parts: into how many jobs a stage is best cut; more than there are workers where
    one that is free takes the next."""

    @property
    def count(self) -> int: ...

    @property
    def parts(self) -> int: ...

    def do(self, jobs: Sequence[Job], report: Reporter) -> None:
        """Does all jobs, in any order; their progress goes to `report`. Where one fails, what it met is raised, and the others
        end."""


class Here:
    """This process."""

    count = parts = 1

    def do(self, jobs: Sequence[Job], report: Reporter) -> None:
        for job in jobs:
            job(report)


def dealt(things: Sequence[T], parts: int) -> list[list[T]]:
    """Things dealt out in turn to at most so many jobs; none gets nothing."""
    return [list(things[i::parts]) for i in range(min(parts, len(things)))]


# --- progress from one process to another ---


class Sender:
    """A reporter that sends what it is told, in small tuples."""

    def __init__(self, send: Callable[[tuple[Any, ...]], Any]) -> None:
        self.send = send

    def say(self, text: str) -> None:
        self.send(("say", text))

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Step]:
        self.send(("begin", name, total))
        try:
            yield lambda done, note: self.send(("step", done, note))
        finally:
            self.send(("end",))


class Heard:
    """Tells a reporter what one worker's `Sender` has sent, with the worker's number before each task."""

    def __init__(self, number: int, report: Reporter) -> None:
        self.number, self.report = number, report
        self.tasks: list[tuple[ExitStack, Step]] = []

    def hear(self, kind: str, *rest: Any) -> None:
        if kind == "say":
            self.report.say(rest[0])
        elif kind == "begin":
            stack = ExitStack()
            self.tasks.append((stack, stack.enter_context(self.report.task(f"worker {self.number}: {rest[0]}", rest[1]))))
        elif kind == "step":
            self.tasks[-1][1](*rest)
        elif kind == "end":
            self.tasks.pop()[0].close()

    def close(self) -> None:
        """Ends what the worker left open."""
        while self.tasks:
            self.tasks.pop()[0].close()
