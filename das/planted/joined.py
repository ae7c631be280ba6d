"""Joined: networks that hold a variable's two bits at two places, so that only a site of both places holds it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from das.planted.planting import Plan, Planted, Sum, Xor, linear

BITS, WIDTH, HEADS = 2, 24, 3


def two_layers(seed: int) -> Planted:
    """At the last token, one bit lies after layer 0 and is used up by layer 1, which puts what it gives where the other bit is
    brought to; layer 2 uses that one. A swap at both layers is right only if the later one leaves what the earlier one did."""
    plan = Plan(Xor(BITS, decimals=1), WIDTH, seed, spare=1)
    layers = [Gather(plan), Half(plan, 0), Half(plan, 1), nn.Identity()]
    one, other = plan.x.split(1, dim=1)
    basis = torch.cat([torch.cat([one, 0 * one]), torch.cat([0 * other, other])], 1)
    return plan.planted(plan.code(plan.x), layers, basis, search={"layers": ["0+1"], "positions": ["last"]})


def two_heads(seed: int) -> Planted:
    """Of three heads in layer 0, one carries one bit to the last token, one the other, one what they are compared with."""
    plan = Plan(Xor(BITS), WIDTH, seed)
    parts = [torch.cat([own, rest], 1) for own, rest in zip(_owned(plan), plan.rest.split(_left(plan), 1), strict=True)]
    layers = [Heads(torch.cat(parts, 1), Sum(), nn.Identity()), Heads(torch.eye(WIDTH), nn.Identity(), plan.multiply())]
    search = {"layers": [0], "positions": ["last"], "components": ["heads.0+heads.1"]}
    made = plan.planted(plan.code(plan.x), layers, torch.eye(2 * WIDTH // HEADS)[:, [0, WIDTH // HEADS]], search=search)
    made.lm.model.config.num_attention_heads = HEADS  # type: ignore[union-attr]
    return made


def _owned(plan: Plan) -> list[Tensor]:
    return [plan.x[:, :1], plan.x[:, 1:], plan.y]


def _left(plan: Plan) -> list[int]:
    """How many of the other directions go through each head, so that all are of one size."""
    return [WIDTH // HEADS - own.shape[1] for own in _owned(plan)]


class Gather(nn.Module):
    """Layer 0: the last token gets one bit of x, and y; the token before it the other bit."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        kept = {-2: plan.x[:, 1:], -1: torch.cat([plan.x[:, :1], plan.y], 1)}
        self.maps = nn.ModuleList(linear(block @ block.T) for block in kept.values())
        self.rest = linear(plan.rest @ plan.rest.T)

    def forward(self, hidden: Tensor) -> Tensor:
        seen, out = hidden.cumsum(1), self.rest(hidden)
        parts = [keep(seen[:, column : column + 1]) for column, keep in zip((-2, len(seen[0]) - 1), self.maps, strict=True)]
        return torch.cat([out[:, :-2], out[:, -2:-1] + parts[0], out[:, -1:] + parts[1]], 1)


class Half(nn.Module):
    """Layers 1 and 2: one bit of x times the same of y, at the last token. The first keeps it aside and brings the other bit
    of x; the second puts both to where x was."""

    def __init__(self, plan: Plan, bit: int) -> None:
        super().__init__()
        x, y, aside = (block[:, bit : bit + 1] for block in (plan.x, plan.y, plan.spare[0]))
        first, other = plan.spare[0][:, :1], plan.x[:, 1:]
        kept = plan.y[:, 1:] if bit == 0 else torch.zeros_like(y)
        self.x, self.y = linear(x.T), linear(y.T)
        self.write = linear(aside if bit == 0 else x)
        self.keep = linear(kept @ kept.T + (0 if bit == 0 else plan.x[:, :1] @ first.T))
        self.bring = linear(other @ other.T if bit == 0 else torch.zeros(WIDTH, WIDTH))

    def forward(self, hidden: Tensor) -> Tensor:
        last = hidden[:, -1:]
        made: Any = self.write(self.x(last) * self.y(last)) + self.keep(last) + self.bring(hidden[:, -2:-1])
        return torch.cat([hidden[:, :-1], made], 1)


class Heads(nn.Module):
    """Heads, each of which reads some directions, and the projection that puts what they have read back where it was.

    directions: (width, width), head by head. before, after: what is done before and after that.
    """

    def __init__(self, directions: Tensor, before: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.read = linear(directions.T)
        self.self_attn = nn.Module()
        self.self_attn.o_proj = linear(directions)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.after(self.self_attn.o_proj(self.read(self.before(hidden))))  # type: ignore[operator]
        return out
