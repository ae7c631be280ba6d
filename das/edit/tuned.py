"""Tuned: the same matrix fine-tuned on the same answers, which an edit is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from das.edit.memory import Memory
from das.edit.patch import Change, Patch
from das.edit.rome import Wanted
from das.errors import DasError
from das.interchange.engine import ResumeEngine
from das.interchange.reply import Reply


def tune(
    engine: ResumeEngine, memory: Memory, wanted: Sequence[Wanted], steps: int = 25, rate: float = 5e-4, enough: float = 0.01,
    **about: Any,
) -> Patch:  # fmt: skip
    """The memory's matrix trained by Adam until the wanted answers' mean loss, in nats, is `enough`, or for so many steps: the
    fine-tuning of Meng et al. (2022, arXiv 2202.05262, appendix E.1). The network is left as it was."""
    matrix, before = memory.matrix, memory.matrix.detach().clone()
    losses: list[float] = []
    try:
        matrix.requires_grad_()
        _train(matrix, [_Whole(engine, memory, each) for each in wanted], steps, rate, enough, losses)
        delta = matrix.detach().float() - before.float()
    finally:
        matrix.requires_grad_(False)
        matrix.data.copy_(before)
    if not bool(delta.isfinite().all()):
        raise DasError("the fine-tuning diverged: give a lower rate")
    told = {"layer": memory.layer, "method": "tuned", "loss": [losses[0], losses[-1]], "steps": len(losses) - 1} | about
    return Patch({memory.name: [Change.of(before, delta)]}, told)


def _train(
    matrix: Tensor, runs: Sequence[_Whole], steps: int, rate: float, enough: float, losses: list[float]
) -> None:  # fmt: skip
    optimizer = torch.optim.Adam([matrix], rate)
    for step in range(steps + 1):
        loss = torch.cat([run.loss() for run in runs]).mean()
        losses.append(float(loss.detach()))
        if step == steps or losses[-1] < enough:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class _Whole:
    """Prompts that are run from the memory's keys on, which its matrix does not change, at all their tokens."""

    def __init__(self, engine: ResumeEngine, memory: Memory, wanted: Wanted) -> None:
        prompts, _, self.label = wanted.asked()
        self.engine, self.memory, self.answers = engine, memory, wanted.data.answers
        self.columns = torch.arange(prompts.width).expand(len(prompts), -1)
        self.capture = engine.capture(prompts, [memory.key])
        self.keys = self.capture.at(memory.key, self.columns)[None]

    def loss(self) -> Tensor:
        """Of each wanted answer, in nats. (pairs,)"""
        logits = self.engine.resume(self.capture, self.memory.key, self.columns, self.keys)
        return Reply(logits, self.answers, {"label": self.label}).loss()[0]
