"""Hierarchical equality: a task of four symbols, and an MLP that is really trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.causal.columns import Columns
from das.causal.domains import Range
from das.causal.inputs import Inputs
from das.causal.model import CausalModel
from das.network.lm import LM
from das.planted.planting import Planted
from das.task.hypothesis import Hypothesis
from das.task.prompt import Prompt
from das.task.task import Task
from das.task.tokenizer import Tokenizer, make_tokenizer

SYMBOLS, HIDDEN = 64, 16
"""Of hierarchical equality: how many symbols there are, and the width of each of three hidden layers."""

STEPS, SEEN, RATE, DECAY = 3000, 200_000, 5e-3, 1.0
"""Of its training: steps, prompts, AdamW's rate and weight decay."""


def equality(seed: int) -> Planted:
    """An MLP trained to tell whether two pairs of symbols are alike in being equal or not (Geiger et al. 2023,
    arXiv 2303.02536); the claim is that it holds both equalities."""
    task = equality_task()
    tokenizer = make_tokenizer([*map(str, range(SYMBOLS)), "yes no"], whole_numbers=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Equality(len(tokenizer), tokenizer.convert_tokens_to_ids(["no", "yes"]), HIDDEN)
        fit(model, task, tokenizer, np.random.default_rng(seed))
    return Planted(task, LM(model, tokenizer, task.name), None, {"layers": [0], "components": ["layers.0"]})


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

    symbols = Range(0, SYMBOLS - 1)
    model = CausalModel(left, right, alike, inputs=Inputs(dict.fromkeys("abcd", symbols), draw=draw))
    prompt = Prompt("{a} {b} {c} {d}", {True: " yes", False: " no"})
    return Task(prompt, {"both": Hypothesis(model, "left", "right")}, name="equality")


class Equality(nn.Module):
    """Start token and four symbols (rows, 5) to logits (rows, vocabulary), through random embeddings and hidden layers; all
    but the answers (tokens) are out of the question."""

    answers: Tensor

    def __init__(self, vocabulary: int, answers: Sequence[int], width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embed = nn.Embedding(vocabulary, 4)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(n, width), nn.ReLU()) for n in (16, width, width)))
        self.head = nn.Linear(width, len(answers))
        self.register_buffer("answers", torch.tensor(answers))

    def forward(self, ids: Tensor) -> Tensor:
        said = self.head(self.layers(self.embed(ids[:, 1:]).flatten(1)))
        unsaid: Tensor = said.new_full((len(ids), self.vocabulary), -1e4)
        return unsaid.index_copy(1, self.answers, said)


def fit(model: Equality, task: Task, tokenizer: Tokenizer, rng: np.random.Generator, batch: int = 512) -> None:
    """Trains all but the embeddings to answer the task; their decay makes neurons mind one pair of symbols each."""
    columns = task.model.run(task.model.sample(rng, SEEN))
    words = torch.tensor(tokenizer.convert_tokens_to_ids(["<s>", *map(str, range(SYMBOLS))]))
    symbols = torch.from_numpy(np.stack([columns[name] for name in "abcd"], 1))
    ids = nn.functional.pad(words[1 + symbols], (1, 0), value=int(words[0]))
    labels = model.answers[columns["alike"].astype(int)]
    optimizer = torch.optim.AdamW([*model.layers.parameters(), *model.head.parameters()], RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.integers(0, SEEN, batch))
        loss = nn.functional.cross_entropy(model(ids[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
