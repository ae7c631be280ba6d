"""Networks that hold a variable in a known number of directions, built otherwise than `das.planted.planting`: to try finders of
rank on.

x and y are numbers. Their bits are signs along orthonormal directions of a residual stream, among what a meaningless number
writes along the others. The answer tells a bit for each of them, so that every direction of x is needed. `signed`: a bit of x
is read by its sign, and y turns it round. `summed`: it is read by whether its sum with a bit of y passes a threshold.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from das import LM, CausalModel, Hypothesis, Prompt, Range, Task
from das.interchange.subspace import random_basis
from das.planted.planting import Planted, linear
from das.task.tokenizer import make_tokenizer

NOISES = 256
"""How many numbers there are without a meaning."""

SHARP, SURE = 2.0, 2.0
"""How steep the steps are by which a sign or a sum is read; half of what a clear bit makes of a difference of logits."""


class Signs(nn.Module):
    """The signs of x, turned round where y's are −1."""

    def forward(self, x, y):
        return torch.tanh(SHARP * x) * y


class Sums(nn.Module):
    """−1 where x and y both are, else 1."""

    def forward(self, x, y):
        return torch.tanh(SHARP * (x + y + 1))


READINGS = {"signed": (Signs(), np.bitwise_xor), "summed": (Sums(), np.bitwise_and)}
"""Name → how the network reads the codes, and what that comes to for the numbers."""


def planted(reading, rank, width, seed):
    """A network with x in a random subspace of so many directions, after layer 0 at the last position."""
    read, rule = READINGS[reading]
    x, y, out, rest = random_basis(width, width, generator := torch.Generator().manual_seed(seed)).split(
        [rank, rank, rank, width - 3 * rank], dim=1
    )
    noise = torch.randn(NOISES, rest.shape[1], generator=generator) @ rest.T
    tokenizer = make_tokenizer([f"{i} =" for i in range(max(2**rank, NOISES))], whole_numbers=True)
    signs = 1.0 - 2.0 * (torch.arange(2**rank)[:, None] >> torch.arange(rank) & 1)

    def rows(vectors):
        words = torch.tensor(tokenizer.convert_tokens_to_ids([str(i) for i in range(len(vectors))]))
        return torch.zeros(len(tokenizer), width).index_copy(0, words, vectors)

    tables = [rows(signs @ x.T), rows(signs @ y.T), rows(noise)]
    layers = [Gather(), Reader(linear(x.T), linear(y.T), read, linear(out))]
    model = Stream(tables, layers, SURE * rows(signs @ out.T))
    return Planted(task(f"{reading}{rank}", rank, rule), LM(model, tokenizer, f"{reading}{rank}"), x)


def task(name, rank, rule):
    """The variable is a copy of x."""

    def code(x):
        return x + 0

    def answer(code, y):
        return rule(code, y)

    numbers = Range(0, 2**rank - 1)
    model = CausalModel(code, answer, inputs={"x": numbers, "y": numbers, "noise": Range(0, NOISES - 1)})
    return Task(Prompt("{x} {y} {noise} =", lambda value: f" {value}"), {"code": Hypothesis(model, "code")}, name=name)


class Stream(nn.Module):
    """A residual stream from tables of embeddings (vocabulary, width), one for each number of a prompt, to a head (vocabulary,
    width)."""

    def __init__(self, tables, layers, head):
        super().__init__()
        self.config = SimpleNamespace(hidden_size=head.shape[1], num_hidden_layers=len(layers), vocab_size=len(head))
        self.config.get_text_config = lambda: self.config
        self.tables = nn.ModuleList(nn.Embedding.from_pretrained(table) for table in tables)
        self.layers, self.head = nn.ModuleList(layers), linear(head)

    def get_input_embeddings(self):
        return self.tables[0]

    def forward(self, input_ids, attention_mask, position_ids):
        """Logits at every position: 0 is the start token, from 1 on come the numbers."""
        places = [(position_ids == place) & (attention_mask > 0) for place in range(1, 1 + len(self.tables))]
        hidden = sum(table(input_ids) * place[..., None] for table, place in zip(self.tables, places, strict=True))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return SimpleNamespace(logits=self.head(hidden))


class Gather(nn.Module):
    """What lies at the earlier positions."""

    def forward(self, hidden):
        return hidden.cumsum(1) - hidden


class Reader(nn.Module):
    """Reads x and y and writes what follows."""

    def __init__(self, x, y, read, write):
        super().__init__()
        self.x, self.y, self.read, self.write = x, y, read, write

    def forward(self, hidden):
        return self.write(self.read(self.x(hidden), self.y(hidden)))
