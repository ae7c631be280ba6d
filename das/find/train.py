"""Training with Lightning: progress, loggers, checkpoints from which a killed run goes on."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import loggers

from das.errors import DasError, unknown
from das.find.alignment import Alignment, Cell, mark_of
from das.find.grid import GridTrainer
from das.find.search import Search
from das.ground.storage import intact, remove, write, write_json, writing
from das.network.quiet import quiet
from das.progress import Reporter, Step, silent

CHECKPOINTS, LAST, LOOKS = "checkpoints", "last.ckpt", "looks.json"
LOGGERS = {name.removesuffix("Logger").lower(): name for name in loggers.__all__ if name != "Logger"}


def check_logger(name: str) -> None:
    """DasError for what is no logger."""
    if name not in (*LOGGERS, "none"):
        raise unknown("logger", name, [*LOGGERS, "none"])


def make_logger(name: str, folder: Path, run: str) -> Any:
    """A Lightning logger by name (`csv`, `tensorboard`, `wandb`, …), or False for `none`."""
    check_logger(name)
    if name == "none":
        return False
    cls = getattr(loggers, LOGGERS[name])
    try:
        if name in ("csv", "tensorboard"):
            return cls(folder, name=run)
        return cls(name=run, save_dir=str(folder)) if name == "wandb" else cls()
    except ImportError as error:
        raise DasError(f"logger {name!r} needs a package that is not installed: {str(error).splitlines()[0]}") from error


class Progress(pl.Callback):
    """Tells a reporter how many steps are done, with the module's `note`, and what it has `said` since."""

    def __init__(self, step: Step, report: Reporter = silent) -> None:
        self.step, self.report = step, report

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.step(trainer.global_step, pl_module.note)
        for line in getattr(pl_module, "said", ()):
            self.report.say(line)
        pl_module.said = []


class Checkpoints(pl.Callback):
    """Writes the state of a training to `last.ckpt` in a folder, every so many steps and where it ends, and to `looks.json` how
    its cells do on validation pairs."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.max_steps or trainer.should_stop:
            write(self.folder / LAST, lambda path: trainer.save_checkpoint(path))
            if hasattr(pl_module, "looks"):  # a network that is trained has no cells
                write_json(self.folder / LOOKS, {"step": step, "cells": pl_module.looks()})


def _placed(device: torch.device) -> dict[str, Any]:
    """Lightning's words for the network's device, where the subspaces are to be trained too."""
    if device.type == "cpu":
        return {"accelerator": "cpu", "devices": 1}
    return {"accelerator": {"cuda": "gpu"}.get(device.type, device.type), "devices": [device.index or 0]}


def go_on(trainer: pl.Trainer, module: pl.LightningModule, folder: Path, name: str, report: Reporter) -> None:
    """Trains, from the checkpoint in `folder` if there is one that can be read. Ctrl-C is a KeyboardInterrupt, and SIGTERM what
    it was, not Lightning's exit."""
    last, handler = folder / LAST, signal.getsignal(signal.SIGINT)
    there = _readable(last)
    if there:
        report.say(f"{name}: going on from a checkpoint")
    elif last.exists():
        report.say(f"{name}: {last} is damaged: beginning anew")
        remove(last)
    try:
        with writing(folder):
            trainer.fit(module, ckpt_path=str(last) if there else None, weights_only=True)
    except SystemExit as stop:
        signal.signal(signal.SIGINT, handler)
        raise (stop.__context__ if isinstance(stop.__context__, KeyboardInterrupt) else KeyboardInterrupt()) from None


def _readable(checkpoint: Path) -> bool:
    """Whether a checkpoint is there, is what was written, and has the form of one."""
    if not intact(checkpoint):
        return False
    try:
        torch.load(checkpoint, weights_only=True, mmap=True)
    except Exception:
        return False
    return True


def _work(folder: Path, cells: Sequence[Cell]) -> Path:
    """Where the checkpoints of exactly these cells lie."""
    return folder / CHECKPOINTS / mark_of(cells)


def train(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """Trains cells at once; goes on from a checkpoint of the same cells in the search's folder, if a killed run left one."""
    if search.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            return train(cells, replace(search, folder=Path(folder)))
    return _trained(cells, search, search.folder, search.schedule.steps).alignments()


def race(cells: Sequence[Cell], search: Search, until: int) -> list[dict[str, Any]]:
    """Trains cells up to a step, with a checkpoint to go on from, and says how they do there (see `GridTrainer.looks`)."""
    assert search.folder is not None
    return _trained(cells, search, search.folder, until).looks()


def _trained(cells: Sequence[Cell], search: Search, folder: Path, steps: int) -> GridTrainer:
    """Of cells, after so many steps."""
    quiet()
    data, schedule, stage = search.data, search.schedule, search.stage
    module = GridTrainer(
        cells, search.engine, data["train"], data["val"], search.variables, schedule, search.room, search.halts
    )  # fmt: skip
    work = _work(folder, cells)
    with search.report.task(f"{stage}: {len(cells)} cells", steps) as step:
        trainer = pl.Trainer(
            **_placed(search.engine.lm.device),
            max_steps=steps, max_epochs=1,
            logger=make_logger(search.logger, folder / "logs", f"{stage.replace(' ', '-')}-{work.name}"),
            log_every_n_steps=5, callbacks=[Checkpoints(work, schedule.check_every), Progress(step, search.report)],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        go_on(trainer, module, work, stage, search.report)
    module.captures = ()  # free them now: Lightning keeps the module alive
    return module


def begun(folder: Path, cells: Sequence[Cell]) -> bool:
    """Whether there is a checkpoint of exactly these cells in `folder`."""
    return (_work(folder, cells) / LAST).exists()


def forget(folder: Path, cells: Sequence[Cell] | None = None) -> None:
    """Removes the checkpoints of cells that are finished; by default all."""
    remove(folder / CHECKPOINTS if cells is None else _work(folder, cells))
    with contextlib.suppress(OSError):
        (folder / CHECKPOINTS).rmdir()
