"""The grid: a LightningModule that trains all cells of a grid at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from das.alignment import Alignment, Cell
from das.dataset import Batch, Dataset, Site
from das.engine import Engine
from das.score import score
from das.subspace import Subspace, SubspaceStack, project


@dataclass(frozen=True)
class Schedule:
    """How cells are trained.

    steps: optimiser steps at most; batch: pairs per step and hypothesis. Every `check_every` steps each cell is scored on
    validation pairs; one that has not gained `gain` in IIA over its best for `patience` checks stops. Rates fall linearly to 0.
    """

    steps: int = 300
    batch: int = 64
    check_every: int = 50
    patience: int = 3
    gain: float = 0.005
    seed: int = 0


class GridTrainer(pl.LightningModule):
    """Trains every cell of a grid at once on shared captures. The network is not a child of this module.

    cells: of kinds that train. train, val: datasets that hold every hypothesis and position of the cells.
    variables: hypothesis → how many variables it aligns.
    """

    best: Tensor
    stale: Tensor
    stopped: Tensor

    def __init__(
        self, cells: Sequence[Cell], engine: Engine, train: Dataset, val: Dataset, variables: Mapping[str, int],
        schedule: Schedule, d: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.automatic_optimization = False
        self.cells, self.schedule, self.variables, self.d = list(cells), schedule, variables, d
        self.data = (engine, train, val)
        self.layers = sorted({cell.site.layer for cell in cells})
        keys = [(cell.kind, self._size(cell), variables[cell.hypothesis]) for cell in cells]
        self.stack_keys = list(dict.fromkeys(keys))
        members = [[i for i, key in enumerate(keys) if key == wanted] for wanted in self.stack_keys]
        self.stacks: Any = nn.ModuleList(
            SubspaceStack(kind, size, v, [cells[i].generator_seed for i in ms])
            for (kind, size, v), ms in zip(self.stack_keys, members, strict=True)
        )
        self.place = {i: (s, j) for s, ms in enumerate(members) for j, i in enumerate(ms)}
        self.kept: Any = nn.ModuleList(
            SubspaceStack(kind, size, v, [0] * len(ms)).requires_grad_(False)
            for (kind, size, v), ms in zip(self.stack_keys, members, strict=True)
        )
        self.register_buffer("best", torch.full((len(cells),), -1.0))
        self.register_buffer("stale", torch.zeros(len(cells), dtype=torch.long))
        self.register_buffer("stopped", torch.full((len(cells),), schedule.steps))
        self.note = ""

    def _size(self, cell: Cell) -> int:
        """The length of the vector that the cell's subspace lives in."""
        return self.d * int(self.data[1].prompts.positions[cell.site.position].shape[1])

    @property
    def active(self) -> list[int]:
        """Indices of the cells that still train."""
        return [i for i in range(len(self.cells)) if self.stopped[i] >= self.schedule.steps]

    def groups(self) -> Iterator[tuple[str, Site, list[int]]]:
        """Active cells by what they share: hypothesis and site."""
        table: dict[tuple[str, Site], list[int]] = {}
        for i in self.active:
            table.setdefault((self.cells[i].hypothesis, self.cells[i].site), []).append(i)
        return ((name, site, members) for (name, site), members in table.items())

    # --- one step ---

    def training_step(self, _batch: Any, _index: int) -> None:
        step, (engine, train, _) = self.global_step, self.data
        names = sorted({name for name, _, _ in self.groups()})
        rows = {name: self._rows(len(train.pairs[name]), step) for name in names}
        batch = Batch.capture(train, rows, engine, self.layers)
        bases = [stack.basis() for stack in self.stacks]
        gradients = [torch.zeros_like(basis) for basis in bases]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        losses = [loss for group in self.groups() for loss in self._losses(batch, bases, gradients, *group, step)]
        torch.autograd.backward(bases, gradients)
        optimizer.step()
        for stack in self.stacks:
            stack.keep_in_range()
        self.lr_schedulers().step()  # type: ignore[union-attr]
        loss = float(np.mean(losses))
        self.note = f"{len(self.active)} cells · loss {loss:.3f}"
        self.log_dict({"loss": loss, "cells": float(len(self.active))}, batch_size=1)

    def _losses(
        self, batch: Batch, bases: Sequence[Tensor], gradients: Sequence[Tensor], name: str, site: Site, members: list[int],
        step: int,
    ) -> list[float]:  # fmt: skip
        """Backward through the network to the bases of the cells of one hypothesis at one site; their losses.

        The gradients with respect to the bases are left in `gradients`, so that one QR serves all groups.
        """
        columns, base, source = batch.at(name, site)
        leaves, deltas, penalties = [], [], []
        for stack, cells in self._by_stack(members):
            index, module = torch.tensor(cells), self.stacks[stack]
            leaf = bases[stack].detach()[index].requires_grad_()
            mask = module.training_mask(index, len(base), step / self.schedule.steps, step)
            leaves.append((stack, index, leaf))
            deltas.append(project(leaf, mask, base, source))
            penalties.append(module.penalty()[index].sum())
        logits = batch.resume(self.data[0], name, site, columns, base, torch.cat(deltas))
        labels = batch.label(name).to(logits.device).expand(len(members), -1)
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)
        self.manual_backward(losses.sum() + torch.stack(penalties).sum())
        for stack, index, leaf in leaves:
            assert leaf.grad is not None
            gradients[stack][index] = leaf.grad
        return losses.tolist()

    def _by_stack(self, members: list[int]) -> Iterator[tuple[int, list[int]]]:
        for stack in dict.fromkeys(self.place[i][0] for i in members):
            yield stack, [self.place[i][1] for i in members if self.place[i][0] == stack]

    def _rows(self, n: int, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The pairs of a step: a pass over all in random order before any comes again."""
        at = np.arange(step * self.schedule.batch, (step + 1) * self.schedule.batch)
        orders = {e: np.random.default_rng([self.schedule.seed, int(e)]).permutation(n) for e in np.unique(at // n)}
        return np.array([orders[i // n][i % n] for i in at])

    # --- checks and early stopping ---

    def on_train_epoch_end(self) -> None:
        """Scores the active cells, keeps those that are about as good as ever, and stops those that gain no more."""
        scores = self._validate()
        for i, iia in scores.items():
            if iia >= self.best[i] - 2 * self.schedule.gain:
                self._keep(i)
            gained = iia > self.best[i] + self.schedule.gain
            self.stale[i] = 0 if gained else self.stale[i] + 1
            self.best[i] = max(float(self.best[i]), iia)
            if self.stale[i] >= self.schedule.patience:
                self.stopped[i] = self.global_step
        self.log_dict({"val_iia_mean": float(np.mean(list(scores.values()))), "val_iia_max": max(scores.values())})
        if not self.active or self.global_step >= self.schedule.steps:
            self.trainer.should_stop = True

    @torch.no_grad()
    def _validate(self) -> dict[int, float]:
        """Validation IIA of every active cell, with hard masks."""
        engine, _, val = self.data
        bases, masks = [stack.basis() for stack in self.stacks], [stack.hard_mask() for stack in self.stacks]
        wanted = {}
        for i in self.active:
            stack, j = self.place[i]
            cell = self.cells[i]
            wanted[i] = cell.hypothesis, cell.site, [Subspace(bases[stack][j], masks[stack][j])]
        return {i: float(hits.mean()) for i, hits in score(engine, val, wanted).items()}

    @torch.no_grad()
    def _keep(self, i: int) -> None:
        """Remembers the cell as it is now."""
        stack, j = self.place[i]
        for kept, now in zip(self.kept[stack].parameters(), self.stacks[stack].parameters(), strict=True):
            kept[j] = now[j]

    # --- Lightning's wiring ---

    def configure_optimizers(self) -> Any:
        groups = [group for stack in self.stacks for group in stack.parameter_groups()]
        optimizer = torch.optim.Adam(groups)
        steps = self.schedule.steps
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def train_dataloader(self) -> Any:
        left = min(self.schedule.check_every, self.schedule.steps - self.global_step)
        return torch.utils.data.DataLoader(range(max(left, 1)), batch_size=None)  # type: ignore[arg-type]

    def alignments(self) -> list[Alignment]:
        """Every cell with what was kept of it."""
        done = []
        with torch.no_grad():
            parts = [(s.basis(), s.hard_mask(), s.last_mask()) for s in self.kept]
        for i, cell in enumerate(self.cells):
            stack, j = self.place[i]
            basis, hard, soft = (part[j] for part in parts[stack])
            done.append(Alignment(cell, Subspace(basis, hard), Subspace(basis, soft), int(self.stopped[i])))
        return done
