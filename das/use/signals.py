"""Signals: SIGTERM, which schedulers send, ends a command as Ctrl-C does: with a word, at once, and with nothing lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = "stopped; the same command goes on from here"
GRACE = 3.0
"""Seconds to end in. Whatever holds a process up longer is cut short: all that it writes is there whole or not at all."""


class Stopped(KeyboardInterrupt):
    """By a signal. status: the exit status that shells and schedulers expect of it, 128 + its number."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.status = 128 + number


@contextmanager
def stoppable(text: str = STOPPED) -> Iterator[None]:
    """Within it SIGTERM and SIGINT raise `Stopped`, and end the process if it has not ended by itself in a few seconds. A
    signal that is ignored stays so. text: what is said of it."""
    cuts: list[threading.Timer] = []

    def stop(number: int, _: FrameType | None) -> None:
        cuts.append(threading.Timer(GRACE, _cut, [128 + number, text]))
        cuts[-1].daemon = True
        cuts[-1].start()
        raise Stopped(number, text)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    mine = [n for n, old in before.items() if old != signal.SIG_IGN and threading.current_thread() is threading.main_thread()]
    for number in mine:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
        for cut in cuts:
            cut.cancel()


def _cut(status: int, text: str) -> None:
    os.write(2, f"das: {text}\n".encode())
    os._exit(status)
