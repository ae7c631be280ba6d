"""Autoencoder: a sparse autoencoder while it is trained; frozen it is a `das.interchange.sae.SAE`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from das.errors import unknown
from das.interchange.sae import SAE

KINDS = "topk", "batchtopk", "jumprelu", "l1"

AUX = 1 / 32
"""What the error that dead latents leave costs, beside the error itself (Gao et al. 2024)."""

SILENT = 100
"""Steps without being active after which a latent counts as dead."""

FOLLOWS = 0.01
"""How fast BatchTopK's threshold follows the smallest activation of a step."""

BANDWIDTH, THRESHOLD = 1.0, 0.5
"""Of JumpReLU, in units in which a vector's entries have mean square 1: around the threshold, how wide is what its gradient
sees; and the threshold at first."""

DENSE = 0.3
"""What JumpReLU pays, per entry, where twice as many latents are active as are wanted."""


@dataclass(frozen=True)
class Law:
    """kind: one of `KINDS`. k: latents that are active in a vector (of BatchTopK on average; of JumpReLU what is aimed at). l1:
    what activations cost, each times the length of its decoder row, where vectors have mean square 1 an entry."""

    kind: str = "batchtopk"
    latents: int = 2048
    k: int = 32
    l1: float = 5.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of autoencoder", self.kind, KINDS)


class Autoencoder(nn.Module):
    """Encoder and decoder begin as each other's transpose, of random directions, and the centre at the mean.

    some: (rows, d) vectors, whose mean and size the training goes by. Activations are counted as what they add to a vector's
    length, f·‖W_dec‖, so that no rescaling of decoder rows changes which latents compete or what they cost.
    """

    scale: Tensor
    silent: Tensor
    level: Tensor

    def __init__(self, law: Law, some: Tensor, seed: int = 0) -> None:
        super().__init__()
        d, generator = some.shape[1], torch.Generator().manual_seed(seed)
        mean = some.mean(0)
        self.law = law
        self.register_buffer("scale", 1 / (some - mean).square().mean().sqrt().clamp(min=1e-12))
        self.register_buffer("silent", torch.zeros(law.latents, dtype=torch.long))
        self.register_buffer("level", torch.zeros(()))
        rows = torch.randn(law.latents, d, generator=generator)
        rows = rows / rows.norm(dim=1, keepdim=True)
        self.decoder = nn.Parameter(rows)
        self.encoder = nn.Parameter(rows.T.clone())
        self.bias = nn.Parameter(torch.zeros(law.latents))
        self.centre = nn.Parameter(mean * self.scale)
        self.threshold = nn.Parameter(torch.full((law.latents,), THRESHOLD)) if law.kind == "jumprelu" else None

    def loss(self, rows: Tensor, warm: float = 1.0) -> Tensor:
        """Of vectors (rows, d): the mean squared length of the error and what is paid for activity, `warm` of it, and for dead
        latents."""
        rows = rows * self.scale
        lengths = self.decoder.norm(dim=1)
        directions = self.decoder / lengths[:, None]
        before = ((rows - self.centre) @ self.encoder + self.bias) * lengths
        active = self._active(before)
        error = rows - self.centre - active @ directions
        dead = self._note(active.detach())
        total: Tensor = error.square().sum(1).mean() + warm * self._penalty(active, before)
        return total + AUX * self._revived(before, error.detach(), directions, dead)

    def _active(self, before: Tensor) -> Tensor:
        match self.law.kind:
            case "topk":
                best = before.topk(self.law.k, 1)
                return torch.zeros_like(before).scatter(1, best.indices, best.values.relu())
            case "batchtopk":
                most = min(self.law.k * len(before), before.numel())
                best = before.relu().flatten().topk(most)
                return torch.zeros_like(before.flatten()).scatter(0, best.indices, best.values).view_as(before)
            case "jumprelu":
                assert self.threshold is not None
                found: Tensor = _Jump.apply(before, self.threshold.relu())  # type: ignore[no-untyped-call]
                return found
            case _:
                return before.relu()

    def _penalty(self, active: Tensor, before: Tensor) -> Tensor:
        if self.law.kind == "l1":
            return self.law.l1 * active.sum(1).mean()
        if self.threshold is None:
            return active.new_zeros(())
        count = _Step.apply(before, self.threshold.relu()).sum(1).mean()  # type: ignore[no-untyped-call]
        wanted: Tensor = DENSE * len(self.centre) * (count / self.law.k - 1).square()
        return wanted

    @torch.no_grad()
    def _note(self, active: Tensor) -> Tensor:
        """Takes down which latents were active, and BatchTopK's threshold; the dead ones, (latents,)."""
        fired = (active > 0).any(0)
        self.silent = torch.where(fired, 0, self.silent + 1)
        if self.law.kind == "batchtopk" and fired.any():
            self.level.lerp_(active[active > 0].min(), FOLLOWS if self.level > 0 else 1.0)
        return self.silent > SILENT

    def _revived(self, before: Tensor, error: Tensor, directions: Tensor, dead: Tensor) -> Tensor:
        """What those of the dead latents that are nearest to being active leave of the error."""
        most = min(len(self.centre) // 2, int(dead.sum()))
        if not most:
            return error.new_zeros(())
        best = before.masked_fill(~dead, -torch.inf).topk(most, 1)
        active = torch.zeros_like(before).scatter(1, best.indices, best.values)
        return (error - active @ directions).square().sum(1).mean() * most / max(1, len(self.centre) // 2)

    @torch.no_grad()
    def frozen(self) -> SAE:
        """As it is now, in the units of the vectors, the decoder's rows of length 1."""
        lengths = self.decoder.norm(dim=1)
        threshold = {"batchtopk": self.level.expand(len(lengths)), "jumprelu": self.threshold}.get(self.law.kind)
        bias = self.bias * lengths / self.scale
        return SAE(
            (self.encoder * lengths).detach().clone(), bias, self.decoder / lengths[:, None],
            self.centre.detach() / self.scale, None if threshold is None else threshold.relu().detach() / self.scale,
            self.law.k if self.law.kind == "topk" else 0,
        )  # fmt: skip


class _Step(torch.autograd.Function):
    """1 where a value is above the threshold; the threshold's gradient is taken of a step `BANDWIDTH` wide (Rajamanoharan et
    al. 2024)."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(before, threshold)
        return (before > threshold).to(before)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor]:
        before, threshold = ctx.saved_tensors
        return None, -(_near(before, threshold) * slope).sum(0) / BANDWIDTH


class _Jump(torch.autograd.Function):
    """A value where it is above the threshold, else 0; likewise."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(before, threshold)
        return before * (before > threshold)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        before, threshold = ctx.saved_tensors
        return (before > threshold) * slope, -(threshold * _near(before, threshold) * slope).sum(0) / BANDWIDTH


def _near(before: Tensor, threshold: Tensor) -> Tensor:
    return ((before - threshold).abs() < BANDWIDTH / 2).to(before)
