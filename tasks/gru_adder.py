"""A GRU that adds numbers of two digits, the units first: after the first step its state must hold the carry. The network reads
no words: its input is one pair of digits a step. It is trained here in a few seconds.

    das run tasks/gru_adder.py --lm tasks/gru_adder.py --layers '[0]' --subspace nested:k=8
"""

import numpy as np
import torch
from torch import nn

from das import CausalModel, Hypothesis, Net, Range, Task, Tensors

BASE, WIDTH = 6, 32
DIGITS = ("a0", "b0", "a1", "b1")


def carry(a0, b0):
    return a0 + b0 >= BASE


def tens(a1, b1, carry):
    return a1 + b1 + carry


def render(a0, b0, a1, b1):
    """(rows, steps, 2 · BASE): at each step, which digits are added."""
    steps = np.stack([np.stack([a0, b0], 1), np.stack([a1, b1], 1)], 1)
    return np.eye(BASE, dtype=np.float32)[steps].reshape(len(steps), 2, 2 * BASE)


model = CausalModel(carry, tens, inputs=dict.fromkeys(DIGITS, Range(0, BASE - 1)))

task = Task(
    prompt=Tensors(render, places=2, positions={"units": 0, "tens": 1}),
    hypotheses={"carry": Hypothesis(model, "carry")},
    positions=["units", "tens"],
)


class Adder(nn.Module):
    """A cell over steps (rows, steps, size), and what it says in the end."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(2 * BASE, WIDTH)
        self.head = nn.Linear(WIDTH, 2 * BASE)

    def forward(self, digits):
        state = digits.new_zeros(len(digits), WIDTH)
        for step in digits.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


def network(steps=600, seed=0):
    """Trained anew by each process, always alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adder, table = Adder(), model.run(model.enumerate())
        digits, labels = torch.from_numpy(render(*(table[name] for name in DIGITS))), torch.from_numpy(table["tens"]).long()
        optimizer = torch.optim.AdamW(adder.parameters(), 1e-2)
        for _ in range(steps):
            rows = torch.randint(0, len(labels), (256,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(adder(digits[rows]), labels[rows]).backward()
            optimizer.step()
    return Net(adder)
