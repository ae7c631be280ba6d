"""Studied: what commands share that look at a network under a task, without a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from das.commands.told import tell
from das.errors import DasError
from das.ground.checks import folder, whole
from das.run.settings import THREADS
from das.use.finding import Finding


def studied(
    command: str, task: str, lm: str | None, out: str | None, threads: int, json: str | None, find: Callable[[], Finding]
) -> None:
    """Checks what is common, has it found, writes it to `out` (by default runs/COMMAND-TASK) and tells it."""
    if lm is None:
        raise DasError(f"{command} needs a network: --lm NAME")
    if whole("threads", threads, 0, THREADS):
        torch.set_num_threads(threads)
    to = place(command, task, out)
    found = find()
    paths = found.write(to)
    tell("\n".join([found.text(), "", *map(str, paths)]), found.plain(), json)


def place(command: str, task: str, out: str | None) -> Path:
    """The folder to write to."""
    return folder("out", out or f"runs/{command}-{task.rpartition('/')[2].removesuffix('.py')}")
