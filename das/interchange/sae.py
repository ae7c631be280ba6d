"""SAE: a trained sparse autoencoder, a vector written as a sum of few of many latents' directions, and an error.

f = act((x − b_dec) W_enc + b_enc), x = f W_dec + b_dec + error. The activation is ReLU (penalised by L1 in training), TopK (Gao
et al. 2024, arXiv 2406.04093) or JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435), which BatchTopK (Bussmann et al. 2024,
arXiv 2412.06410) becomes once it is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

CHUNK = 2**24
"""Activations of latents that are held at once."""


@dataclass(frozen=True, eq=False)
class SAE:
    """encoder: (d, latents); bias: (latents,), of the encoder; decoder: (kept latents, d); centre: (d,), the decoder's bias.

    threshold: (latents,), JumpReLU's; pre-activations up to it become 0. k: TopK's; 0 for any other activation. centred:
    whether the centre is taken from a vector before it is encoded. kept: of TopK, whose latents compete, the encoder's numbers
    of the latents that are there; None: all.
    """

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    centre: Tensor
    threshold: Tensor | None = None
    k: int = 0
    centred: bool = True
    kept: Tensor | None = None

    @property
    def latents(self) -> int:
        """How many there are."""
        return len(self.decoder)

    @property
    def width(self) -> int:
        """The entries of the vectors that it is of."""
        return len(self.encoder)

    def encode(self, rows: Tensor) -> Tensor:
        """Activations (…, latents) of vectors (…, d), in fp32."""
        rows = rows.float()
        before = (rows - self.centre if self.centred else rows) @ self.encoder + self.bias
        return self._active(before)[..., slice(None) if self.kept is None else self.kept]

    def _active(self, before: Tensor) -> Tensor:
        if self.k:
            best = before.topk(self.k, -1)
            return torch.zeros_like(before).scatter(-1, best.indices, best.values.relu())
        active = before.relu()
        return active if self.threshold is None else active * (before > self.threshold.relu())

    def decode(self, activations: Tensor) -> Tensor:
        """Vectors (…, d) of activations (…, latents)."""
        return activations @ self.decoder + self.centre

    def reconstruct(self, rows: Tensor) -> Tensor:
        """What of vectors (rows, d) the latents hold; the rest is the error."""
        return torch.cat([self.decode(self.encode(part)) for part in rows.split(max(1, CHUNK // len(self.bias)))])

    def only(self, some: Tensor) -> SAE:
        """The latents of these numbers, which are as active as among all."""
        if self.k:
            return replace(self, decoder=self.decoder[some], kept=some if self.kept is None else self.kept[some])
        threshold = None if self.threshold is None else self.threshold[some]
        encoder, bias = self.encoder[:, some].contiguous(), self.bias[some]
        return replace(self, encoder=encoder, bias=bias, decoder=self.decoder[some], threshold=threshold)

    def to(self, device: torch.device) -> SAE:
        """On a device."""
        return self if self.centre.device == device else SAE.of_tensors({n: t.to(device) for n, t in self.tensors().items()})

    def scrambled(self, rows: Tensor, seed: int = 0) -> SAE:
        """A random dictionary of the same size: each latent has a random direction, the same in encoder and decoder, and a bias
        by which it is active as often among vectors (rows, d); of TopK as many as of its own are active at once."""
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(self.decoder.shape, generator=generator)
        directions = directions / directions.norm(dim=1, keepdim=True)
        made = SAE(directions.T.contiguous(), torch.zeros(self.latents), directions, rows.float().mean(0), k=self.k)
        if self.k:
            return made
        shares = (self.encode(rows) > 0).float().mean(0)
        before = (rows.float() - made.centre) @ made.encoder
        at = ((1 - shares) * (len(rows) - 1)).round().long()
        return replace(made, bias=-before.sort(0).values.gather(0, at[None])[0])

    def tensors(self) -> dict[str, Tensor]:
        """As a file holds it; `of_tensors` reads it back."""
        there = {"encoder": self.encoder, "bias": self.bias, "decoder": self.decoder, "centre": self.centre}
        there |= {name: t for name in ("threshold", "kept") if (t := getattr(self, name)) is not None}
        return there | {"k": torch.tensor(self.k), "centred": torch.tensor(self.centred)}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> SAE:
        """From what was kept."""
        encoder, bias, decoder, centre = (tensors[name] for name in ("encoder", "bias", "decoder", "centre"))
        k, centred = int(tensors["k"]), bool(tensors["centred"])
        return cls(encoder, bias, decoder, centre, tensors.get("threshold"), k, centred, tensors.get("kept"))


@dataclass(frozen=True)
class Quality:
    """What a dictionary is worth on some vectors.

    explained: the share of their variance that reconstructions have. l0: how many latents are active in a vector, the mean.
    dead: the share of latents that are active in none. vectors: how many there were.
    """

    explained: float
    l0: float
    dead: float
    vectors: int


@torch.no_grad()
def quality(sae: SAE, rows: Tensor) -> Quality:
    """Of a dictionary, on vectors (rows, d)."""
    mean, fired = rows.float().mean(0), torch.zeros(sae.latents, dtype=torch.bool, device=rows.device)
    off, spread, active = 0.0, 0.0, 0
    for part in rows.float().split(max(1, CHUNK // len(sae.bias))):
        found = sae.encode(part)
        fired |= (found > 0).any(0)
        active += int((found > 0).sum())
        off += float((part - sae.decode(found)).square().sum())
        spread += float((part - mean).square().sum())
    explained = 1 - off / spread if spread else float(off == 0)
    return Quality(explained, active / len(rows), 1 - float(fired.float().mean()), len(rows))
