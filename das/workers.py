"""Several processes on one run: each does its own share and tells of its progress."""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import sys
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

    def __init__(self, messages: Any, worker: int) -> None:
        self.messages, self.worker = messages, worker

    def say(self, text: str) -> None:
        self.messages.put(("say", self.worker, text))

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Step]:
        self.messages.put(("begin", self.worker, name, total))

        def step(done: float, note: str) -> None:
            parent = multiprocessing.parent_process()
            if parent is None or not parent.is_alive():
                os._exit(1)
            self.messages.put(("step", self.worker, done, note))

        yield step
        self.messages.put(("end", self.worker))


_MESSAGES: list[Any] = []
"""In a worker: the queue to the parent process, which can be handed on at the start alone."""


def _begin(messages: Any) -> None:
    gc.freeze()  # what was imported before the fork stays shared: the collector would write to all of it
    _MESSAGES.append(messages)


def _run(job: Job, worker: int) -> None:
    job(_Sender(_MESSAGES[0], worker))


def run_in_processes(jobs: Sequence[Job], report: Reporter, module: str) -> None:
    """Runs each job (a picklable function of a reporter) in a process of its own; their progress goes to `report`. module:
    what they import, on Linux once for all of them: forked from a process that has done so, they share its memory."""
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload([module])
    messages = context.Queue()
    with ProcessPoolExecutor(len(jobs), context, _begin, (messages,)) as pool:
        running = [pool.submit(_run, job, worker) for worker, job in enumerate(jobs)]
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
