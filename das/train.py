"""Training with Lightning: progress, loggers, checkpoints from which a killed run goes on."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import loggers

from das.alignment import Alignment, Cell
from das.dataset import Dataset
from das.engine import Engine
from das.errors import DasError, unknown
from das.grid import GridTrainer, Schedule
from das.progress import Reporter, Step

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


def quiet() -> None:
    """Lightning's hints and notices, off: das says what a user needs."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*treespec.*")
    warnings.filterwarnings("ignore", module="pytorch_lightning")


class Progress(pl.Callback):
    """Tells a reporter how many steps are done, with the module's `note`."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.step(trainer.global_step, pl_module.note)


def _placed(device: torch.device) -> dict[str, Any]:
    """Lightning's words for the network's device, where the subspaces are to be trained too."""
    if device.type == "cpu":
        return {"accelerator": "cpu", "devices": 1}
    return {"accelerator": {"cuda": "gpu"}.get(device.type, device.type), "devices": [device.index or 0]}


def go_on(trainer: pl.Trainer, module: pl.LightningModule, last: Path) -> None:
    """Trains, from the checkpoint `last` if it is there. Ctrl-C is a KeyboardInterrupt, not Lightning's exit."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    except SystemExit as stop:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop


def _work(folder: Path, cells: Sequence[Cell]) -> Path:
    """Where the checkpoints of exactly these cells lie."""
    return folder / "checkpoints" / f"{zlib.crc32(' '.join(sorted(c.id for c in cells)).encode()):08x}"


def train(
    cells: Sequence[Cell], engine: Engine, data: Dataset, val: Dataset, variables: Mapping[str, int], schedule: Schedule,
    folder: Path, stage: str, logger: str, report: Reporter, room: float = 0.0,
) -> list[Alignment]:  # fmt: skip
    """Trains cells at once; goes on from a checkpoint of the same cells in `folder`, if a killed run left one."""
    quiet()
    module = GridTrainer(cells, engine, data, val, variables, schedule, room)
    work = _work(folder, cells)
    keep = pl.callbacks.ModelCheckpoint(work, save_last=True, save_top_k=0, every_n_train_steps=schedule.check_every)
    with report.task(f"{stage}: {len(cells)} cells", schedule.steps) as step:
        trainer = pl.Trainer(
            **_placed(engine.lm.device),
            max_steps=schedule.steps, max_epochs=1,
            logger=make_logger(logger, folder / "logs", f"{stage.replace(' ', '-')}-{work.name}"),
            log_every_n_steps=5, callbacks=[keep, Progress(step)],
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        last = work / "last.ckpt"
        if last.exists():
            report.say(f"{stage}: going on from a checkpoint")
        go_on(trainer, module, last)
    module.captures = ()  # free them now: Lightning keeps the module alive
    return module.alignments()


def forget(folder: Path, cells: Sequence[Cell] | None = None) -> None:
    """Removes the checkpoints of cells that are finished; by default all."""
    shutil.rmtree(folder / "checkpoints" if cells is None else _work(folder, cells), ignore_errors=True)
    with contextlib.suppress(OSError):
        (folder / "checkpoints").rmdir()
