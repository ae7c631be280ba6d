"""The grid: a LightningModule that trains all cells of a grid at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from das.find.alignment import Alignment, Cell
from das.find.rank import Scores, choose_rank, learned, narrowest, uncut, unswapped
from das.find.schedule import Schedule
from das.find.stack import Ground, Moment, SoftSwap, Stack, stack_type
from das.interchange.batch import Batch, Keep, Swap
from das.interchange.engine import Engine
from das.interchange.feature import Listed
from das.interchange.score import captures_for, score
from das.network.site import Site
from das.pairs.dataset import Dataset

FOCUS = (0.33, 0.5, 0.67, 0.83)
"""Shares of the training after which the widths that Nested cells train on are drawn around one that nearly suffices."""

NEARLY = 0.15
"""How much less IIA than the best such a width may have. A variable that still lies in one column too many is gathered only by
pairs that swap fewer; where they are too few to hold it, the next look finds more."""


NO_HALTS: Mapping[str, int] = {}


class GridTrainer(pl.LightningModule):
    """Trains every cell of a grid at once on shared captures. The network is not a child of this module.

    cells: of kinds that train. train, val: datasets that hold every hypothesis and position of the cells.
    variables: hypothesis → how many variables it aligns. room: bytes in which captures may be kept between steps. halts: id of
    a cell → the step after which it is out of a race (see `das.find.race`).
    """

    best: Tensor
    learned: Tensor
    last: Tensor
    late: Tensor
    stale: Tensor
    stopped: Tensor
    broken: Tensor

    def __init__(
        self, cells: Sequence[Cell], engine: Engine, train: Dataset, val: Dataset, variables: Mapping[str, int],
        schedule: Schedule, room: float = 0.0, halts: Mapping[str, int] = NO_HALTS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.automatic_optimization = False
        self.cells, self.schedule, self.halts = list(cells), schedule, halts
        self.data = (engine, train, val)
        sites = [cell.site for cell in cells]
        self.captures = tuple(captures_for(engine, data, sites, room / 2) for data in (train, val))
        grounds = [Ground(engine, train, cell.hypothesis, variables[cell.hypothesis], cell.site) for cell in cells]
        keys = [(c.kind, stack_type(c.kind).shared(c.kind, ground)) for c, ground in zip(cells, grounds, strict=True)]
        members = [[i for i, key in enumerate(keys) if key == wanted] for wanted in dict.fromkeys(keys)]
        self.stacks: Any = nn.ModuleList(_stack(cells, grounds, mine) for mine in members)
        self.place = {i: (s, j) for s, mine in enumerate(members) for j, i in enumerate(mine)}
        self.kept: Any = copy.deepcopy(self.stacks).requires_grad_(False)
        self.register_buffer("best", torch.full((len(cells),), -1.0))
        self.register_buffer("last", torch.full((len(cells),), torch.nan))
        self.register_buffer("late", torch.full((len(cells),), torch.nan))
        self.register_buffer("learned", torch.zeros(len(cells), dtype=torch.bool))
        self.register_buffer("stale", torch.zeros(len(cells), dtype=torch.long))
        self.register_buffer("stopped", torch.full((len(cells),), schedule.steps))
        self.register_buffer("broken", torch.zeros(len(cells), dtype=torch.bool))
        self.note, self.said = "", list[str]()

    @property
    def active(self) -> list[int]:
        """Indices of the cells that still train."""
        return [i for i, step in enumerate(self.stopped.tolist()) if step >= self.schedule.steps]

    def groups(self) -> dict[Site, dict[str, list[int]]]:
        """Active cells by site and hypothesis."""
        table: dict[Site, dict[str, list[int]]] = {}
        for i in self.active:
            cell = self.cells[i]
            table.setdefault(cell.site, {}).setdefault(cell.hypothesis, []).append(i)
        return table

    # --- one step ---

    def training_step(self, _batch: Any, _index: int) -> None:
        self.step_on(self.capture())
        due = self.global_step % self.schedule.check_every == 0 or self.global_step >= self.schedule.steps
        if due and self.active:
            self.check()
        if self.global_step in {round(share * self.schedule.steps) for share in FOCUS}:
            self.focus()
        self.halt()

    def capture(self) -> Batch:
        """The pairs of this step of every hypothesis that still trains."""
        train = self.data[1]
        active = {self.cells[i].hypothesis for i in self.active}
        names = [name for name in dict.fromkeys(cell.hypothesis for cell in self.cells) if name in active]
        rows = {name: self._rows(len(train.pairs[name]), self.global_step) for name in names}
        return Batch.capture(train, self.captures[0], rows, self.schedule.loss.roles, self.schedule.loss.matched)

    def step_on(self, batch: Batch) -> None:
        """One optimiser step of every cell that still trains."""
        active = self._active_by_stack()
        states = [stack.state(index) for stack, index in zip(self.stacks, active, strict=True)]
        gradients = [torch.zeros_like(state) for state in states]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        losses = [
            self._losses(batch, states, gradients, swaps, site, {name: members[name][part] for name, part in share.items()})
            for site, members in self.groups().items()
            for swaps in [{name: batch.swap(name, site) for name in members}]
            for share in batch.shares(self.data[0], site, {name: len(cells) for name, cells in members.items()})
        ]
        torch.autograd.backward(states, gradients)
        self._stop_broken()
        optimizer.step()
        for stack in self.stacks:
            stack.keep_in_range()
        self.lr_schedulers().step()  # type: ignore[union-attr]
        loss = float(torch.cat(losses).mean())
        self.note = f"{len(self.active)} cells · loss {loss:.3f}"
        self.log_dict({"loss": loss, "cells": float(len(self.active))}, batch_size=1)

    def _stop_broken(self) -> None:
        """Stops cells whose gradients are no numbers; what was kept of them at a check stays, and others go on as before."""
        for s, stack in enumerate(self.stacks):
            gradients = [p.grad for p in stack.parameters() if p.grad is not None]
            bad = torch.zeros(len(stack.seeds), dtype=torch.bool, device=self.device)
            for each in gradients:
                bad |= ~each.isfinite().flatten(1).all(1)
            if not bad.any():
                continue
            for each in gradients:
                each[bad] = 0
            for i in [i for i, place in self.place.items() if place[0] == s and bad[place[1]]]:
                self.stopped[i], self.broken[i] = self.global_step, True
                self.said.append(f"{self.cells[i].id} stops at step {self.global_step}: its gradient is no number")

    def _losses(
        self, batch: Batch, states: Sequence[Tensor], gradients: Sequence[Tensor], swaps: Mapping[str, Swap], site: Site,
        members: Mapping[str, list[int]],
    ) -> Tensor:  # fmt: skip
        """Backward through the network to the states of cells at one site, equally many of each hypothesis; their losses.

        The gradients with respect to the states are left in `gradients`, so that these are made once for all groups.
        """
        leaves: list[tuple[int, Tensor, Tensor]] = []
        some = {name: swaps[name] for name in members}
        made = [self._deltas(states, swap, members[name], leaves) for name, swap in some.items()]
        deltas, keeps = zip(*made, strict=True)
        each = self.schedule.loss.of(batch.reply(self.data[0], site, some, deltas, keeps))
        pairs = [len(swap.base) for swap in some.values()]
        losses = torch.cat([part.mean(1) for part in each.split(pairs, 1)])
        self.manual_backward(losses.sum() + self._penalty([i for cells in members.values() for i in cells]))
        for stack, index, leaf in leaves:
            assert leaf.grad is not None
            gradients[stack][index] = leaf.grad
        return losses.detach()

    def _deltas(self, states: Sequence[Tensor], swap: Swap, members: list[int], leaves: list[Any]) -> tuple[Tensor, Keep]:
        """The changes that cells of one hypothesis make to its bases, (cells, rows, size), and what they leave of each other's;
        adds to `leaves` the states used."""
        used: list[SoftSwap] = []
        counts: list[int] = []
        for stack, cells in self._by_stack(members):
            index = torch.tensor([self._order[stack][j] for j in cells])
            leaf = states[stack].detach()[index].requires_grad_()
            leaves.append((stack, index, leaf))
            used.append(self.stacks[stack].soft(leaf, torch.tensor(cells), len(swap.base), self.now))
            counts.append(len(cells))

        def keep(part: slice, moved: Tensor) -> Tensor:
            return torch.cat([soft.keep(part, each) for soft, each in zip(used, moved.split(counts), strict=True)])

        return torch.cat([soft.swap(swap.base, swap.source) for soft in used]), keep

    def _penalty(self, members: list[int]) -> Tensor:
        """What the widths of some cells cost."""
        parts = [self.stacks[s].penalty(torch.tensor(cells), self.now).sum() for s, cells in self._by_stack(members)]
        return torch.stack(parts).sum()

    @property
    def now(self) -> Moment:
        return Moment(self.global_step, self.schedule.steps)

    def _active_by_stack(self) -> list[Tensor]:
        """Per stack the cells that still train; `_order` says where in it each of them is."""
        index: list[list[int]] = [[] for _ in self.stacks]
        for i in self.active:
            stack, j = self.place[i]
            index[stack].append(j)
        self._order = [{j: at for at, j in enumerate(cells)} for cells in index]
        return [torch.tensor(cells, dtype=torch.long) for cells in index]

    def _by_stack(self, members: list[int]) -> Iterator[tuple[int, list[int]]]:
        for stack in dict.fromkeys(self.place[i][0] for i in members):
            yield stack, [self.place[i][1] for i in members if self.place[i][0] == stack]

    def _rows(self, n: int, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The pairs of a step: a pass over all in random order before any comes again."""
        at = np.arange(step * self.schedule.batch, (step + 1) * self.schedule.batch)
        orders = {e: np.random.default_rng([self.schedule.seed, int(e)]).permutation(n) for e in np.unique(at // n)}
        return np.array([orders[i // n][i % n] for i in at])

    # --- checks and early stopping ---

    def on_train_start(self) -> None:
        """Nothing is left to do after a checkpoint at which all cells had stopped, or have been stopped since."""
        self.halt()

    def halt(self) -> None:
        """Stops the cells that are out of the race, and the training where none is left."""
        for i in self.active:
            if self.global_step >= self.halts.get(self.cells[i].id, math.inf):
                self.stopped[i] = self.global_step
        self.trainer.should_stop = not self.active

    def check(self) -> None:
        """Scores the active cells, keeps those that are about as good as ever, and stops those that gain no more."""
        scores = self._validate()
        noop = {name: unswapped(self.data[2], name, self.captures[1]) for name in self.data[2].pairs}
        for i, iia in scores.items():
            if iia >= self.best[i] - 2 * self.schedule.gain:
                self._keep(i)
            self.late[i], self.last[i] = iia - max(float(self.last[i]), float(self.best[i])), iia
            gained = iia > self.best[i] + self.schedule.gain
            self.stale[i] = 0 if gained else self.stale[i] + 1
            self.best[i] = max(float(self.best[i]), iia)
            self.learned[i] = learned(float(self.best[i]), noop[self.cells[i].hypothesis])
            if self.stale[i] >= self.schedule.patience and not self._settling(i):
                self.stopped[i] = self.global_step
        self.log_dict({"val_iia_mean": float(np.mean(list(scores.values()))), "val_iia_max": max(scores.values())})

    def looks(self) -> list[dict[str, Any]]:
        """How the cells do: the validation IIA of each at its last check."""
        last = zip(self.cells, self.last.tolist(), strict=True)
        return [{"hypothesis": c.hypothesis, **asdict(c.site), "iia": iia} for c, iia in last if not math.isnan(iia)]

    def focus(self) -> None:
        """Finds the width that nearly suffices of every cell that has learned something and draws its own widths: around it
        they are drawn from now on, and at it the cell is scored, from a new start."""
        now = self._features(i for i in self.active if self._settling(i) and self.stacks[self.place[i][0]].focuses)
        where = {i: (self.cells[i].hypothesis, self.cells[i].site) for i in now}
        wanted = {i: (uncut(feature), NEARLY) for i, feature in now.items()}
        for i, curve in narrowest(wanted, Scores(where, self.data[0], self.data[2], self.captures[1])).items():
            stack, j = self.place[i]
            self.stacks[stack].focus_on(j, choose_rank(curve, NEARLY))
            self.best[i] = -1

    def _settling(self, i: int) -> bool:
        """Whether a cell has learned something, but not yet how much it takes."""
        return self.cells[i].kind.settles and bool(self.learned[i])

    def _validate(self) -> dict[int, float]:
        """Validation IIA of every active cell, with hard masks."""
        engine, _, val = self.data
        now = self._features(self.active)
        wanted = {i: (self.cells[i].hypothesis, self.cells[i].site, [feature]) for i, feature in now.items()}
        return {i: float(hits.mean()) for i, hits in score(engine, val, wanted, captures=self.captures[1]).items()}

    @torch.no_grad()
    def _features(self, cells: Iterable[int]) -> dict[int, Listed]:
        """Cells as they are now."""
        found: dict[int, Listed] = {}
        for stack, mine in self._by_stack(members := list(cells)):
            index = torch.tensor(mine)
            hard = self.stacks[stack].hard(self.stacks[stack].state(index), index)
            found |= zip([i for i in members if self.place[i][0] == stack], hard, strict=True)
        return found

    @torch.no_grad()
    def _keep(self, i: int) -> None:
        """Remembers the cell as it is now."""
        stack, j = self.place[i]
        for kept, now in zip(self.kept[stack].parameters(), self.stacks[stack].parameters(), strict=True):
            kept[j] = now[j]

    # --- Lightning's wiring ---

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """One of an older version does not say which cells are broken."""
        checkpoint["state_dict"].setdefault("broken", torch.zeros_like(self.broken))

    def configure_optimizers(self) -> Any:
        groups = [group for stack in self.stacks for group in stack.parameter_groups()]
        optimizer = torch.optim.Adam(groups)
        steps = self.schedule.steps
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(range(self.schedule.steps), batch_size=None)  # type: ignore[arg-type]

    @torch.no_grad()
    def alignments(self) -> list[Alignment]:
        """Every cell with what was kept of it."""
        parts = [_kept(stack) for stack in self.kept]
        every = [(cell, *self.place[i], int(self.stopped[i]), self._course(i)) for i, cell in enumerate(self.cells)]
        return [Alignment(cell, *parts[stack][j], steps, about=course) for cell, stack, j, steps, course in every]

    def _course(self, i: int) -> dict[str, float]:
        """How often the cell was checked, and how much its validation IIA rose at the last check, over the one before and over
        the best since its width was found; where there was one check, 0. `broken` where its gradient was no number once;
        `raced`, the step after which it was out of a race, if it was."""
        late, checks = float(self.late[i]), -(-int(self.stopped[i]) // self.schedule.check_every)
        course = {"checks": checks, "late": 0.0 if math.isnan(late) else late}
        out = self.halts.get(self.cells[i].id)
        return course | ({"broken": 1.0} if self.broken[i] else {}) | ({} if out is None else {"raced": out})


def _stack(cells: Sequence[Cell], grounds: Sequence[Ground], mine: Sequence[int]) -> Stack:
    """Of those of the cells that go together."""
    kind = cells[mine[0]].kind
    return stack_type(kind).of(kind, grounds[mine[0]], [cells[i].generator_seed for i in mine])


def _kept(stack: Stack) -> list[tuple[Listed, Listed | None]]:
    """Of each cell what is swapped at evaluation, and what was at the end of the training, if that is something else."""
    every = torch.arange(len(stack.seeds))
    state = stack.state(every)
    return list(zip(stack.hard(state, every), stack.last(state, every), strict=True))
