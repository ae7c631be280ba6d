"""Several processes on one run: each does its own share and tells of its progress."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from typing import Any

from das.errors import DasError
from das.progress import Reporter, Step

Job = Callable[[Reporter], None]


class _Sender:
    """A reporter that sends to the parent process, and ends with it."""

    def __init__(self, messages: Any, worker: int, parent: int) -> None:
        self.messages, self.worker, self.parent = messages, worker, parent

    def say(self, text: str) -> None:
        self.messages.put(("say", self.worker, text))

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Step]:
        self.messages.put(("begin", self.worker, name, total))

        def step(done: float, note: str) -> None:
            if os.getppid() != self.parent:
                os._exit(1)
            self.messages.put(("step", self.worker, done, note))

        yield step
        self.messages.put(("end", self.worker))


def _run(job: Job, messages: Any, worker: int, parent: int) -> None:
    job(_Sender(messages, worker, parent))


def run_in_processes(jobs: Sequence[Job], report: Reporter) -> None:
    """Runs each job (a picklable function of a reporter) in a process of its own; their progress goes to `report`."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(len(jobs), mp_context=context) as pool:
        messages = manager.Queue()
        running = [pool.submit(_run, job, messages, worker, os.getpid()) for worker, job in enumerate(jobs)]
        _relay(messages, running, report)
        try:
            for future in running:
                future.result()
        except BrokenProcessPool as error:
            raise DasError("a worker was killed (out of memory?): run again to go on, perhaps with fewer workers") from error


def _relay(messages: Any, jobs: Sequence[Any], report: Reporter) -> None:
    """Passes the workers' progress on until all have ended."""
    with ExitStack() as open_tasks:
        tasks: dict[int, tuple[ExitStack, Step]] = {}
        while True:
            try:
                kind, worker, *rest = messages.get(timeout=0.2)
            except queue.Empty:
                if all(job.done() for job in jobs):
                    return
                continue
            if kind == "say":
                report.say(rest[0])
            elif kind == "begin":
                stack = open_tasks.enter_context(ExitStack())
                tasks[worker] = stack, stack.enter_context(report.task(f"worker {worker + 1}: {rest[0]}", rest[1]))
            elif kind == "step":
                tasks[worker][1](*rest)
            else:
                tasks.pop(worker)[0].close()
