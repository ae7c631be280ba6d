"""Hierarchical equality (Geiger et al. 2023, arXiv 2303.02536): are two pairs of vectors alike in being equal or not? An MLP on
the four vectors, which reads no words, is trained on it here in a few seconds.

    das run tasks/equality.py --lm tasks/equality.py --layers '[0, 1, 2]' --subspace nested:k=8
"""

import numpy as np
import torch
from torch import nn

from das import CausalModel, Hypothesis, Inputs, Net, Sampler, Task, Tensors

SIZE, WIDTH = 4, 16


def wx(a, b):
    return (a == b).all(1)


def yz(c, d):
    return (c == d).all(1)


def same(wx, yz):
    return wx == yz


def draw(rng, n):
    """Half of each pair are equal."""
    a, other, c, another = rng.normal(size=(4, n, SIZE)).astype(np.float32)
    equal = rng.random((2, n, 1)) < 0.5
    return {"a": a, "b": np.where(equal[0], a, other), "c": c, "d": np.where(equal[1], c, another)}


def render(a, b, c, d):
    return np.concatenate([a, b, c, d], 1).astype(np.float32)


vector = Sampler(lambda rng, n: rng.normal(size=(n, SIZE)))
model = CausalModel(wx, yz, same, inputs=Inputs(dict.fromkeys("abcd", vector), draw=draw))

task = Task(
    prompt=Tensors(render, answers={True: 1, False: 0}),
    hypotheses={"both": Hypothesis(model, "wx", "yz"), "left": Hypothesis(model, "wx")},
)


class Equality(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [(4 * SIZE, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH)]
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(*size), nn.ReLU()) for size in sizes))
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, vectors):
        return self.head(self.layers(vectors))


def network(steps=3000, seed=0):
    """Trained anew by each process, always alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mlp, rng = Equality(), np.random.default_rng(seed)
        table = model.run(model.sample(rng, 100_000))
        vectors, labels = torch.from_numpy(render(*(table[name] for name in "abcd"))), torch.from_numpy(table["same"]).long()
        optimizer = torch.optim.AdamW(mlp.parameters(), 5e-3, weight_decay=1.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps, pct_start=0.1)
        for _ in range(steps):
            rows = torch.from_numpy(rng.integers(0, len(vectors), 512))
            optimizer.zero_grad()
            nn.functional.cross_entropy(mlp(vectors[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return Net(mlp)
