"""Trained networks: small networks that learn a task from a seed in seconds, in two halves with a seat between them.

What lies in the seat is known apart from any search, in one of two ways.

*Interchange training* (Geiger et al. 2022, arXiv 2112.00826): beside the task, the network learns to give the counterfactual
answer when known columns of the seat are taken from another prompt. That the swap of these columns does so on new pairs can be
counted, and then the variable is there.

*A narrow way*: the second half hears of some inputs through the seat alone, past noise that blurs all but a few well-parted
vectors. What the second half can know of these inputs is in the seat, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from das.causal.columns import Columns, codes, take
from das.network.lm import LM
from das.network.parts import tokens
from das.task.task import Task
from das.task.tokenizer import Tokenizer

SEEN = 60_000
"""Prompts that are drawn to train on."""


class Halves(nn.Module):
    """Token ids (rows, length) to logits (rows, vocabulary): the first half makes one vector of some tokens' embeddings, which
    passes through the seat, and the second makes scores of it and of the other tokens', which pass beside it.

    early, late: the columns that either half hears; answers: the tokens that the scores are of. All others are out of the
    question. noise: added to the seat's values while training, in standard deviations.
    """

    answers: Tensor

    def __init__(
        self, first: nn.Module, second: nn.Module, embed: nn.Embedding, answers: Tensor, early: Sequence[int],
        late: Sequence[int], noise: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first, self.second, self.embed = first, second, embed
        self.seat, self.beside = nn.Identity(), nn.Identity()
        self.early, self.late, self.noise = list(early), list(late), noise
        self.register_buffer("answers", answers)

    def before(self, ids: Tensor) -> Tensor:
        """What the first half makes of the prompts, (rows, width)."""
        made: Tensor = self.first(self.embed(ids[:, self.early]))
        return made + self.noise * torch.randn_like(made) if self.training else made

    def after(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Scores of the answers, (rows, answers)."""
        heard = self.embed(ids[:, self.late])
        scores: Tensor = self.second(hidden, self.beside(heard.flatten(1)).view_as(heard))
        return scores

    def forward(self, ids: Tensor) -> Tensor:
        said = self.after(self.seat(self.before(ids)), ids)
        unsaid: Tensor = said.new_full((len(ids), self.embed.num_embeddings), -1e4)
        return unsaid.index_copy(1, self.answers, said)


class Flat(nn.Module):
    """An MLP on embeddings (rows, n, size) one after another, beside a vector (rows, width) if one comes first."""

    def __init__(self, *sizes: int, last: nn.Module | None = None) -> None:
        super().__init__()
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(*layers[:-1], last or nn.Identity())

    def forward(self, *given: Tensor) -> Tensor:
        made: Tensor = self.layers(torch.cat([part.flatten(1) for part in given], 1))
        return made


class Steps(nn.Module):
    """A GRU cell over embeddings (rows, n, size), from a state (rows, width) or from none; the last state, or what `head` makes
    of it."""

    def __init__(self, cell: nn.GRUCell, head: nn.Module | None = None) -> None:
        super().__init__()
        self.cell, self.head = cell, head or nn.Identity()

    def forward(self, *given: Tensor) -> Tensor:
        *before, embedded = given
        state = before[0] if before else embedded.new_zeros(len(embedded), self.cell.hidden_size)
        for column in embedded.unbind(1):
            state = self.cell(column, state)
        made: Tensor = self.head(state)
        return made


Make = Callable[[int, Tensor], Halves]
"""An untrained network from the size of the vocabulary and the answers' tokens."""


@dataclass(frozen=True)
class Lesson:
    """How a network is trained: AdamW's steps, rate and weight decay, prompts per step; columns: (width, n), orthonormal, that
    are to hold the variables of the task's hypothesis; none where they are not to be interchanged."""

    steps: int
    rate: float = 5e-3
    decay: float = 0.01
    batch: int = 256
    columns: Tensor | None = None


def learned(task: Task, tokenizer: Tokenizer, make: Make, lesson: Lesson, seed: int) -> LM:
    """A network that has learned a task with one hypothesis."""
    rng = np.random.default_rng(seed)
    asked = Asked.draw(task, tokenizer, rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(len(tokenizer), asked.answers)
        teach(network, asked, lesson, rng)
    return LM(network, tokenizer, task.name)


@dataclass(frozen=True)
class Asked:
    """Pairs of prompts as tokens (rows, length), and the answers to the first and to the interchange, as places among `answers`
    (tokens)."""

    base: Tensor
    source: Tensor
    own: Tensor
    swapped: Tensor
    answers: Tensor

    @classmethod
    def draw(cls, task: Task, tokenizer: Tokenizer, rng: np.random.Generator) -> Asked:
        """All variables of the task's one hypothesis are interchanged."""
        (hypothesis,) = task.hypotheses.values()
        base, source = (task.model.sample(rng, SEEN) for _ in range(2))
        swapped = hypothesis.model.interchange(base, dict.fromkeys(hypothesis.variables, source))
        columns = [table[task.model.output] for table in (task.model.run(base), swapped)]
        answers, place = np.unique(np.concatenate(columns), return_inverse=True)
        own, other = torch.from_numpy(place).split(SEEN)
        said = torch.from_numpy(task.answer_tokens(answers, base, tokenizer))
        return cls(_written(task, base, tokenizer), _written(task, source, tokenizer), own, other, said)


def _written(task: Task, rows: Columns, tokenizer: Tokenizer) -> Tensor:
    """The prompts' tokens, (rows, length); a prompt that comes often is written once."""
    _, first, place = np.unique(codes(*rows.values()), return_index=True, return_inverse=True)
    return torch.from_numpy(tokens(task.encode(take(rows, first), tokenizer)).ids[place])


def teach(network: Halves, asked: Asked, lesson: Lesson, rng: np.random.Generator) -> None:
    """Trains a network to answer prompts and, if columns are to be interchanged, pairs of them."""
    optimizer = torch.optim.AdamW(network.parameters(), lesson.rate, weight_decay=lesson.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lesson.rate, total_steps=lesson.steps, pct_start=0.1)
    network.train()
    for _ in range(lesson.steps):
        rows = torch.from_numpy(rng.integers(0, SEEN, lesson.batch))
        base = asked.base[rows]
        hidden = network.before(base)
        loss = cross_entropy(network.after(hidden, base), asked.own[rows])
        if (q := lesson.columns) is not None:
            change = (network.before(asked.source[rows]) - hidden) @ q @ q.T
            loss = loss + cross_entropy(network.after(hidden + change, base), asked.swapped[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
