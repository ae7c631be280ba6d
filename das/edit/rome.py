"""ROME: one fact written into the matrix of one MLP, by a change of rank one (Meng et al. 2022, arXiv 2202.05262).

The key k is what the matrix is given at the subject's last token, on average over prompts and contexts; the value is what it
should answer, found by optimisation: its own answer and δ. With u = C⁻¹k, W + δ uᵀ/(k·u) answers k by W k + δ and moves other
keys as little as can be, weighted by how common they are. The key is one and the same throughout: the reference averages it
over contexts in u and not in the division, which breaks the network (Gupta et al. 2024, arXiv 2403.07175).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.edit.covariance import RIDGE, Moment
from das.edit.memory import Memory
from das.edit.patch import Change, Patch
from das.errors import DasError
from das.ground.checks import number, whole
from das.interchange.engine import ResumeEngine
from das.interchange.reply import Reply
from das.pairs.dataset import Dataset
from das.task.encoded import Encoded
from das.task.rendered import Indices


@dataclass(frozen=True)
class Settings:
    """Of the search for a value. steps, rate: of Adam; the rate in the root mean square of the memory's own answer. enough: the
    loss per prompt at which it ends. kl: what it costs, per nat, to say other things of the subject. decay: what δ costs, times
    ‖δ‖²/‖v‖²; most: how long δ may be, in ‖v‖. ridge: of the covariance."""

    steps: int = 20
    rate: float = 0.5
    enough: float = 0.05
    kl: float = 0.0625
    decay: float = 0.5
    most: float = 4.0
    ridge: float = RIDGE

    def __post_init__(self) -> None:
        whole("steps", self.steps, 1, 10_000)
        for name in ("rate", "enough", "kl", "decay", "most", "ridge"):
            number(name, getattr(self, name), 0, 1e6, above=name in ("rate", "most"))


@dataclass(frozen=True)
class Wanted:
    """What is to be answered: the labels of pairs, after their bases. data: of the pairs under `name`, with the column of
    `position` resolved, where the subject ends."""

    data: Dataset
    name: str
    position: str

    def asked(self) -> tuple[Encoded, Tensor, Indices]:
        """The prompts that are run, the subject's column in each (rows, 1), and the numbers of the answers."""
        pairs = self.data.pairs[self.name]
        prompts: Any = self.data.prompts.take(pairs.rows("label").ravel())
        return prompts, torch.from_numpy(prompts.positions[self.position][:, -1:]), pairs.label


@dataclass(frozen=True)
class Association:
    """What an edit comes to. key: (keys,); value: what the memory answered to it, (values,); delta: what it shall answer beside
    that; direction: u, (keys,), with k·u = 1. loss: of the wanted answers, at first, and with δ added at the subject."""

    memory: Memory
    key: Tensor
    value: Tensor
    delta: Tensor
    direction: Tensor
    loss: tuple[float, float]

    def patch(self, **about: Any) -> Patch:
        """As a change of the weights, of rank one."""
        left, right = self.memory.kept(self.delta[:, None], self.direction[:, None])
        told = {"layer": self.memory.layer, "method": "rome", "loss": list(self.loss)} | about
        return Patch({self.memory.name: [Change.of(self.memory.matrix, left, right)]}, told)


def insert(memory: Memory, moment: Moment, key: Tensor, delta: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """The factors of the least change by which the memory answers a key by δ more: δ, and u with k·u = 1."""
    direction = moment.solve(key, ridge)
    along = float(direction @ key.double().cpu())
    if not along > 0:
        raise DasError(f"the key of layer {memory.layer} is zero: the MLP does nothing there that could be changed")
    return delta, (direction / along).float()


def associate(
    engine: ResumeEngine, memory: Memory, moment: Moment, wanted: Sequence[Wanted], same: tuple[Encoded, str] | None = None,
    settings: Settings | None = None,
) -> Association:  # fmt: skip
    """Finds key and value. wanted: the same answers in one or several contexts. same: prompts after which what is said should
    stay, and the position of the subject in them."""
    s = settings or Settings()
    runs = [_Run.of(engine, memory, *each.asked(), each.data) for each in wanted]
    calm = _Calm.of(engine, memory, *same) if same else None
    key, value = (torch.cat([getattr(run, name) for run in runs]).mean(0) for name in ("keys", "values"))
    delta, first, last = _optimised(runs, calm, value, s)
    delta, direction = insert(memory, moment, key, delta, s.ridge)
    return Association(memory, key.cpu(), value.cpu(), delta.cpu(), direction, (first, last))


def _optimised(runs: Sequence[_Run], calm: _Calm | None, value: Tensor, s: Settings) -> tuple[Tensor, float, float]:
    """δ, and the loss of the wanted answers without and with it."""
    size = value.norm()
    delta = torch.zeros_like(value).requires_grad_()
    optimizer = torch.optim.Adam([delta], s.rate * float(size) / len(value) ** 0.5)
    losses = []
    for step in range(s.steps + 1):
        said = torch.cat([run.loss(delta) for run in runs]).mean()
        losses.append(float(said.detach()))
        if step == s.steps or losses[-1] < s.enough:
            break
        cost = said + s.decay * (delta.norm() / size).square()
        cost = cost + s.kl * calm.divergence(delta) if calm else cost
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        with torch.no_grad():
            delta.mul_((s.most * size / delta.norm().clamp(min=1e-12)).clamp(max=1))
    if not bool(delta.isfinite().all()):
        raise DasError("the search for a value diverged: give a lower rate")
    if losses[0] >= s.enough and not bool(delta.any()):
        raise DasError("nothing that this layer's MLP says at the subject reaches the answer: choose a layer further below")
    return delta.detach(), losses[0], losses[-1]


@dataclass(frozen=True)
class _Placed:
    """Prompts, captured once, whose memory is made to answer δ more at the subject. keys, values: what it was given and
    answered there, (rows, d)."""

    engine: ResumeEngine
    memory: Memory
    capture: Any
    columns: Tensor
    keys: Tensor
    values: Tensor

    def logits(self, delta: Tensor) -> Tensor:
        moved = (self.values + delta).to(self.capture.at(self.memory.value, self.columns[:1]).dtype)
        return self.engine.resume(self.capture, self.memory.value, self.columns, moved[None, :, None])


@dataclass(frozen=True)
class _Run(_Placed):
    data: Any
    label: Indices

    @classmethod
    def of(
        cls, engine: ResumeEngine, memory: Memory, prompts: Encoded, columns: Tensor, label: Indices, data: Dataset
    ) -> _Run:  # fmt: skip
        return cls(engine, memory, *_captured(engine, memory, prompts, columns), data, label)

    def loss(self, delta: Tensor) -> Tensor:
        """Of each wanted answer, in nats. (pairs,)"""
        return Reply(self.logits(delta), self.data.answers, {"label": self.label}).loss()[0]


@dataclass(frozen=True)
class _Calm(_Placed):
    said: Tensor

    @classmethod
    def of(cls, engine: ResumeEngine, memory: Memory, prompts: Encoded, position: str) -> _Calm:
        columns = torch.from_numpy(prompts.positions[position][:, -1:])
        placed = _captured(engine, memory, prompts, columns)
        return cls(engine, memory, *placed, torch.log_softmax(placed[0].logits.float(), -1))

    def divergence(self, delta: Tensor) -> Tensor:
        """The mean Kullback–Leibler divergence of what is said then from what was said before, in nats."""
        now = torch.log_softmax(self.logits(delta)[0].float(), -1)
        return (self.said.exp() * (self.said - now)).sum(-1).mean()


def _captured(engine: ResumeEngine, memory: Memory, prompts: Encoded, columns: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
    first = int(np.min(columns.numpy()))
    capture = engine.capture(prompts, [memory.key, memory.value], first=first)
    keys, values = (capture.at(spot, columns)[:, 0].float() for spot in (memory.key, memory.value))
    return capture, columns, keys, values
