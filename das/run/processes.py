"""Several processes on one run: each does its own share, tells of its progress, and ends when its parent does."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from typing import Any

from das.errors import DasError
from das.progress import Reporter
from das.run.workers import Heard, Job, Sender

HEAVY = "das.run.work"
"""What workers import."""

NO_GUARD = 3
"""Exit status of a worker that found itself running the script which started it."""


# --- in a worker ---


def refuse_at_start() -> None:
    """Ends a worker that runs the script which started it while it imports it, before it can start workers in turn."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(NO_GUARD)


def _work(job: bytes, pipe: Any) -> None:
    """All that a worker does. Of Ctrl-C, which a terminal sends to all, the parent is told too, and ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.freeze()  # what was imported before the fork stays shared: the collector would write to all of it
    with suppress(BrokenPipeError):  # nobody listens any more
        pipe.send(("started",))
        try:
            pickle.loads(job)(Sender(pipe.send))
        except BaseException as error:
            pipe.send(("failed", _portable(error)))
        else:
            pipe.send(("done",))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _portable(error: BaseException) -> bytes:
    """An error as another process can raise it, with its stack trace as a note; what ends a process ends the worker alone."""
    if not isinstance(error, Exception):
        error = DasError(f"a worker was ended from within ({type(error).__name__}): run again to go on")
    elif not isinstance(error, DasError):
        error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return pickle.dumps(error)
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


# --- in the parent ---


@dataclass
class _Worker:
    """A process, and what was heard of it."""

    heard: Heard
    process: Any
    begun: bool = False

    def hear(self, kind: str, *rest: Any) -> None:
        """Passes on what the worker tells; raises the error that it met."""
        if kind == "started":
            self.begun = True
        elif kind == "failed":
            raise pickle.loads(rest[0])
        else:
            self.heard.hear(kind, *rest)

    def lost(self) -> DasError:
        """Why it said no more."""
        self.process.join(5)
        status = self.process.exitcode
        if status == -getattr(signal, "SIGKILL", 9):
            return DasError("a worker was killed (out of memory?): run again to go on, perhaps with fewer workers")
        if status == NO_GUARD or not self.begun:
            return DasError(
                "the workers could not start: a script that asks for several must do so under `if __name__ == '__main__':`, "
                "as each of them imports it; or give workers=1"
            )
        return DasError(f"a worker ended with status {status}: run again to go on; with workers=1 its error is shown")

    def end(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        if self.process.pid is not None:
            self.process.join()
        self.heard.close()


class Processes:
    """So many processes of this machine. Each does one job, and ends."""

    def __init__(self, count: int) -> None:
        self.count = self.parts = count

    def do(self, jobs: Sequence[Job], report: Reporter) -> None:
        """See `das.run.workers.Workers`. Where a job fails or is killed, or this process is stopped, all end at once; DasError
        says which it was, and an error of a job is raised as it is."""
        for some in (jobs[i : i + self.count] for i in range(0, len(jobs), self.count)):
            _run(some, report)


def _run(jobs: Sequence[Job], report: Reporter) -> None:
    """Each job in a process of its own. What they import is imported once for all of them on Linux: forked from a process that
    has done so, they share its memory."""
    context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload([HEAVY])
    workers: dict[Any, _Worker] = {}
    try:
        for number, job in enumerate(jobs, 1):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(_pickled(job), theirs))
            workers[ours] = _Worker(Heard(number, report), process)
            workers[ours].process.start()
            theirs.close()
        _relay(workers)
    except KeyboardInterrupt:
        _end_server()
        raise
    finally:
        for worker in workers.values():
            worker.end()


def _end_server() -> None:
    """Ends the process that workers are forked from at once: while it still imports, it would not notice for long that nobody
    needs it. It is started again when it is asked for."""
    server = getattr(forkserver, "_forkserver", None)
    if pid := getattr(server, "_forkserver_pid", None):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _pickled(job: Job) -> bytes:
    try:
        return pickle.dumps(job)
    except Exception as error:
        raise DasError(f"other processes cannot be given all of the settings ({error}): give workers=1") from error


def _relay(workers: dict[Any, _Worker]) -> None:
    """Passes the workers' progress on until all are done."""
    left = dict(workers)
    while left:
        pipe: Any
        for pipe in connection.wait(list(left)):
            try:
                message = pipe.recv()
            except (EOFError, OSError) as end:
                raise left[pipe].lost() from end
            if message[0] == "done":
                del left[pipe]
            else:
                left[pipe].hear(*message)
