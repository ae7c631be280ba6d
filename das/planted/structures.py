"""Structures: networks that hold a variable in ways that a method must tell apart, each with the verdict that it deserves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.causal.domains import Range
from das.causal.model import CausalModel
from das.planted.equality import equality
from das.planted.held import of_inputs, of_variable
from das.planted.hops import another_bridge, two_hops
from das.planted.planting import Plan, Planted, Sum, Xor, linear, plant
from das.planted.sums import adder_gru, adder_mlp, modular, modular_beside
from das.task.task import Task

BITS, WIDTH = 2, 24
"""Of every planted code, and of the vectors it lies in."""

SHARP = 2.0
"""How steep the steps are by which a reader tells a bit."""

FEW = 8
"""Where a block is merged, one in so many numbers sets the low bit."""

LOUD, COPY = 10.0, 4.0
"""How much louder than what is read the copies are that nothing reads: the distractor, the illusion's."""


def plain(seed: int) -> Planted:
    """The variable's bits lie in a random block of the vector, among other content."""
    return Plan(Xor(BITS), WIDTH, seed).plain()


def permuted(seed: int) -> Planted:
    """Random codes for the values, in randomly chosen neurons."""
    order = np.random.default_rng(seed).permutation(2**BITS)
    return Plan(Xor(BITS, order), WIDTH, seed, neurons=True).plain()


def split(seed: int) -> Planted:
    """One bit lies at one token, the other at another, and each is read there; a site has one token."""
    return replace(spanned(seed), basis=None, search={"layers": [0], "positions": ["noise.first", "noise.last"]})


def spanned(seed: int) -> Planted:
    """The same, where a site spans both tokens, and the one between them."""
    plan = Plan(Xor(BITS, decimals=1), WIDTH, seed)
    one, other = plan.x.split(1, dim=1)
    there = {-4: one, -2: other, -1: plan.y}
    kept = {column: torch.cat([block, plan.rest], 1) for column, block in there.items()}
    layers = [nn.Sequential(Sum(), Only(kept)), nn.Sequential(Sum(), plan.multiply())]
    nothing = torch.zeros_like(one)
    basis = torch.cat([torch.cat([one, nothing, nothing]), torch.cat([nothing, nothing, other])], 1)
    return plan.planted(plan.code(plan.x), layers, basis, search={"layers": [0], "positions": ["noise"]})


def redundant(seed: int) -> Planted:
    """Two copies, each with noise of its own that its reader removes; the mean of the two is read."""
    plan = Plan(Xor(BITS), WIDTH, seed, spare=1)
    copies = torch.cat([plan.x, plan.spare[0]], 1)
    votes = linear(torch.eye(BITS).repeat(1, 2) / 2)
    read = nn.Sequential(linear(SHARP * copies.T), nn.Tanh(), votes)
    plan.noise += 0.2 * plan.noise @ mixing(plan.rest, copies, seed)
    both = plan.x + plan.spare[0]
    return plan.planted(plan.code(both), [Sum(), plan.multiply(read)], both / 2**0.5)


def merged(seed: int) -> Planted:
    """One direction carries two bits, the high one by its sign and the low one by its size; the claim is the high one alone."""
    plan = Plan(Xor(BITS), WIDTH, seed)
    direction, numbers = plan.x[:, :1], torch.arange(2 * FEW)
    levels = (1 - 2 * (numbers // FEW)) * (1.0 + 2 * (numbers % FEW == 0))
    steps = linear(direction.T.repeat(3, 1), torch.tensor([2.0, 0.0, -2.0]))
    bits = linear(torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.tensor([-1.0, 0.0]))
    read = nn.Sequential(steps, nn.Tanh(), bits)
    return plan.planted(levels[:, None] * direction.T, [Sum(), plan.multiply(read)], None, merged_task(plan.xor))


def merged_task(xor: Xor) -> Task:
    """x stands for two bits, which are XORed with y: half of the numbers set the high one, few the low one."""

    def high(x: Any) -> Any:
        return x // FEW

    def low(x: Any) -> Any:
        return np.where(x % FEW == 0, 1, 0)

    def answer(high: Any, low: Any, y: Any) -> Any:
        return (2 * high + low) ^ y

    return xor.claim(CausalModel(high, low, answer, inputs=xor.inputs | {"x": Range(0, 2 * FEW - 1)}), "high")


def absent(seed: int) -> Planted:
    """The first layer computes the answer at once: where one looks, x is no more."""
    plan = Plan(Xor(BITS), WIDTH, seed)
    first = nn.Sequential(Sum(), plan.multiply(keep=plan.rest @ plan.rest.T))
    search = {"layers": [0, 1], "positions": ["last"]}
    return plan.planted(plan.code(plan.x), [first, nn.Identity()], None, search=search)


def louder(seed: int, width: int = WIDTH) -> Planted:
    """Beside what is read lies a louder copy that nothing reads; a swap may go by any mixture of the two."""
    plan = Plan(Xor(BITS), width, seed, spare=1)
    both = torch.cat([plan.x, plan.spare[0]], 1)
    return plan.planted(plan.code(plan.x + LOUD * plan.spare[0]), [Sum(), plan.multiply()], both)


def illusory(seed: int, width: int = WIDTH, own: float = 0.0) -> Planted:
    """A component copies x to where nothing reads it, and x itself goes past the component: what is read of its output never
    varies, but a subspace that joins both directions drives it (Makelov et al. 2023, arXiv 2311.17030).

    own: the share of what is read that the component itself adds. The reader minds signs alone, so that a swap of the component
    changes nothing while the share is less than half, and is an honest one thereafter.
    """
    plan = Plan(Xor(BITS), width, seed, spare=1)
    past = plan.x * (1 - own)
    made = (COPY * plan.spare[0] + own * plan.x) @ plan.x.T / (1 - own) + mixing(plan.rest, plan.rest, seed)
    layers = [nn.Sequential(Sum(), Around(linear(made))), plan.multiply()]
    search = {"layers": [0], "positions": ["last"], "components": ["model.layers.0.1.component"]}
    basis = (plan.x + plan.spare[0]) / 2**0.5
    return plan.planted(plan.code(past), layers, None if own else basis, search=search)


def shuffled(seed: int) -> Planted:
    """The plain network, under a claim that is right about answers and otherwise a random table."""
    return replace(plain(seed), task=Xor(BITS).hashed(seed), basis=None)


def untrained(seed: int) -> Planted:
    """The plain network's shape with random weights; what it never reads or says stays so."""
    planted, generator = plain(seed), torch.Generator().manual_seed(seed)
    for parameter in planted.lm.model.parameters():
        parameter.data = (parameter != 0) * torch.randn(parameter.shape, generator=generator)
    return replace(planted, basis=None)


def mixing(read: Tensor, write: Tensor, seed: int) -> Tensor:
    """(width, width): takes a row vector's part in the directions `read` to random places in `write`, of like size."""
    between = torch.randn(read.shape[1], write.shape[1], generator=torch.Generator().manual_seed(seed))
    mixed: Tensor = read @ between @ write.T / read.shape[1] ** 0.5
    return mixed


class Only(nn.Module):
    """Keeps, at each of some columns counted from the end, what lies in its own directions (width, n); nothing elsewhere."""

    def __init__(self, kept: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.columns = list(kept)
        self.maps = nn.ModuleList(linear(block @ block.T) for block in kept.values())

    def forward(self, hidden: Tensor) -> Tensor:
        out = torch.zeros_like(hidden)
        for column, keep in zip(self.columns, self.maps, strict=True):
            out[:, column] = keep(hidden[:, column])
        return out


class Around(nn.Module):
    """Adds to the hidden states what a component makes of them."""

    def __init__(self, component: nn.Module) -> None:
        super().__init__()
        self.component = component

    def forward(self, hidden: Tensor) -> Tensor:
        added: Tensor = self.component(hidden)
        return hidden + added


# --- what each deserves ---


@dataclass(frozen=True)
class Structure:
    """How a network is made from a seed, the verdict that is right of it, and what it asks of an experiment."""

    make: Callable[[int], Planted]
    expected: str
    settings: Mapping[str, Any] = field(default_factory=dict)


DEFAULT = {"subspace": "nested", "train_pairs": 4096, "check_every": 25}
"""What an experiment does when nothing is said."""

WIDE = {"subspace": "fixed:k=16"}
"""Columns to spare: eight times as many as any of these codes has bits."""

LONG = {"steps": 400, "check_every": 50}
"""Parities of raw bits are found late: nothing gains before all of the bits are swapped."""

INPUTS_ALONE = ("xor", "xor, the other way", "equality", "sum", "and", "parity of one")
"""Accounts of networks whose site holds the inputs and nothing else: two that exclude each other would score 1 there. (A parity
of four bits would, too, but is not found by training.)"""

STRUCTURES = {
    "plain": Structure(plain, "supported"),
    "permuted": Structure(permuted, "supported"),
    "split": Structure(split, "partly"),
    "split, both sites": Structure(spanned, "supported"),
    "redundant": Structure(redundant, "supported"),
    "merged": Structure(merged, "partly"),
    "absent": Structure(absent, "not above the null"),
    "louder distractor": Structure(louder, "supported"),
    "illusory": Structure(illusory, "illusory"),
    "hierarchical equality": Structure(equality, "supported"),
    "shuffled": Structure(shuffled, "not above the null"),
    "untrained": Structure(untrained, "task not solved"),
    "rank 3 of 48": Structure(partial(plant, 3, 48), "supported", DEFAULT),
    "rank 5 of 80": Structure(partial(plant, 5, 80), "supported", DEFAULT),
    "rank 10 of 48": Structure(partial(plant, 10, 48), "supported", DEFAULT),
    "rank 10 of 80": Structure(partial(plant, 10, 80), "supported", DEFAULT),
    "columns to spare": Structure(partial(plant, BITS, 64), "supported", WIDE),
    "louder, columns to spare": Structure(partial(louder, width=48), "supported", WIDE),
    "illusory, columns to spare": Structure(partial(illusory, width=48), "illusory", WIDE),
    "illusory in part": Structure(partial(illusory, own=0.2), "illusory"),
    "copied and carried": Structure(partial(illusory, own=0.8), "supported"),
    "carry of an MLP": Structure(adder_mlp, "supported"),
    "carry of a GRU": Structure(adder_gru, "supported"),
    "modular sum": Structure(modular, "supported", DEFAULT),
    "modular sum, beside": Structure(modular_beside, "not above the null"),
    "two hops": Structure(two_hops, "supported", DEFAULT),
    "two hops, another bridge": Structure(another_bridge, "not above the null", DEFAULT),
    **{f"{name}: its inputs": Structure(partial(of_inputs, name), "not identifiable", LONG) for name in INPUTS_ALONE},
    **{f"{name}: itself": Structure(partial(of_variable, name), "supported", LONG) for name in INPUTS_ALONE},
}
