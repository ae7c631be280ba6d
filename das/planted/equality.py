"""Hierarchical equality: a task of four symbols, and an MLP that is really trained on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.causal.columns import Columns
from das.causal.domains import Range
from das.causal.inputs import Inputs
from das.causal.model import CausalModel
from das.network.net import Net
from das.planted.planting import Planted
from das.task.hypothesis import Hypothesis
from das.task.task import Task
from das.task.tensors import Tensors

SYMBOLS, HIDDEN = 64, 16
"""Of hierarchical equality: how many symbols there are, and the width of each of three hidden layers."""

STEPS, SEEN, RATE, DECAY = 3000, 200_000, 5e-3, 1.0
"""Of its training: steps, prompts, AdamW's rate and weight decay."""


def equality(seed: int) -> Planted:
    """An MLP trained to tell whether two pairs of symbols are alike in being equal or not (Geiger et al. 2023,
    arXiv 2303.02536); the claim is that it holds both equalities."""
    task = equality_task()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Equality(HIDDEN)
        fit(model, task, np.random.default_rng(seed))
    net = Net(model, task.name, blocks=[f"layers.{i}" for i in range(3)])
    return Planted(task, net, None, {"layers": [0]})


def equality_task() -> Task:
    """(a = b) = (c = d); half of each pair are equal."""

    def left(a: Any, b: Any) -> Any:
        return a == b

    def right(c: Any, d: Any) -> Any:
        return c == d

    def alike(left: Any, right: Any) -> Any:
        return left == right

    def draw(rng: np.random.Generator, n: int) -> Columns:
        a, b, c, d = rng.integers(0, SYMBOLS, (4, n))
        same = rng.random((2, n)) < 0.5
        return {"a": a, "b": np.where(same[0], a, b), "c": c, "d": np.where(same[1], c, d)}

    def symbols(a: Any, b: Any, c: Any, d: Any) -> Any:
        return np.stack([a, b, c, d], 1)

    inputs = Inputs(dict.fromkeys("abcd", Range(0, SYMBOLS - 1)), draw=draw)
    model = CausalModel(left, right, alike, inputs=inputs)
    return Task(Tensors(symbols, {True: 1, False: 0}), {"both": Hypothesis(model, "left", "right")}, name="equality")


class Equality(nn.Module):
    """Four symbols (rows, 4) to scores (rows, 2), through random embeddings and hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS, 4)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(n, width), nn.ReLU()) for n in (16, width, width)))
        self.head = nn.Linear(width, 2)

    def forward(self, symbols: Tensor) -> Tensor:
        said: Tensor = self.head(self.layers(self.embed(symbols).flatten(1)))
        return said


def fit(model: Equality, task: Task, rng: np.random.Generator, batch: int = 512) -> None:
    """Trains all but the embeddings to answer the task; their decay makes neurons mind one pair of symbols each."""
    columns = task.model.run(task.model.sample(rng, SEEN))
    symbols = torch.from_numpy(np.stack([columns[name] for name in "abcd"], 1))
    labels = torch.from_numpy(columns["alike"].astype(int))
    optimizer = torch.optim.AdamW([*model.layers.parameters(), *model.head.parameters()], RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.integers(0, SEEN, batch))
        loss = nn.functional.cross_entropy(model(symbols[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
