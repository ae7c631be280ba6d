"""Latents: some of a dictionary's latents as what is swapped; and what a dictionary makes of a vector without a swap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from das.interchange.feature import Feature, Listed
from das.interchange.sae import SAE

CANDIDATES = 8
"""As many latents at least are kept beside each chosen one, those about as active, for a random feature to be drawn from; as
many as are chosen where these are more, so that none is drawn twice."""


def candidates(chosen: int, latents: int) -> int:
    """How many are kept beside each of so many chosen ones, of a dictionary of so many latents."""
    return min(max(CANDIDATES, chosen), latents - chosen)


@dataclass(frozen=True, eq=False)
class Latents(Listed):
    """Latents of a dictionary, of one or several variables, none of two: h' = h_b + Σ m_i (f_i(h_s) − f_i(h_b)) W_dec,i. All
    else of the base stays, so does the error of its reconstruction.

    sae: the dictionary, of no more latents than are needed (of TopK, whose latents compete, with the encoder of all). chosen:
    (variables, k), their numbers in `sae`, the most important first. mask: (variables, k), 1 for those that are swapped.
    beside: (variables, k, candidates), for each the numbers of latents that are about as active. numbers: (latents,), what the
    latents of `sae` are called in the whole dictionary.
    """

    counted = "latents"

    sae: SAE
    chosen: Tensor
    mask: Tensor
    beside: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, sae: SAE, chosen: Tensor, activity: Tensor) -> Latents:
        """All of these latents, (variables, k) numbers in a whole dictionary. activity: (latents,), how much of a vector each
        accounts for, by which the candidates for a random feature are found."""
        far = (activity.log1p() - activity[chosen.flatten()].log1p()[:, None]).abs()
        far[:, chosen.flatten()] = torch.inf
        most = candidates(chosen.numel(), sae.latents)
        beside = far.topk(most, largest=False, sorted=True).indices
        numbers, place = torch.unique(torch.cat([chosen.flatten(), beside.flatten()]), return_inverse=True)
        own, others = place.split([chosen.numel(), beside.numel()])
        shape = chosen.shape
        return cls(sae.only(numbers), own.view(shape), torch.ones(shape), others.view(*shape, most), numbers)

    @property
    def size(self) -> int:
        """Latents that are swapped, over all variables."""
        return int((self.mask > 0.5).sum())

    def masked(self, mask: Tensor) -> Latents:
        return replace(self, mask=mask)

    def sorted(self, order: Tensor) -> Latents:
        places = order[..., None].expand_as(self.beside)
        chosen, mask = self.chosen.take_along_dim(order, 1), self.mask.take_along_dim(order, 1)
        return replace(self, chosen=chosen, mask=mask, beside=self.beside.take_along_dim(places, 1))

    def called(self, variable: int) -> list[int]:
        """The numbers in the whole dictionary of those that are swapped, of a variable."""
        numbers: list[int] = self.numbers[self.chosen[variable, self.mask[variable] > 0.5]].tolist()
        return numbers

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        return self.swap_all([self], base, sources)[0]

    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        return self.sae.to(rows.device).encode(rows)[..., self.chosen[variable, self.mask[variable] > 0.5]]

    def directions(self, variable: int = 0) -> Tensor | None:
        """Decoder rows, of any length and at any angle to each other."""
        rows = self.sae.decoder[self.chosen[variable, self.mask[variable] > 0.5]]
        return rows.T if len(rows) else None

    @property
    def d(self) -> int:  # type: ignore[override]
        return self.sae.width

    def twin(self, generator: torch.Generator) -> Latents | None:
        """Others in their places, each about as active; None where there are too few others."""
        drawn = list[int]()
        for candidates in self.beside.flatten(0, 1):
            free = [j for j in candidates[torch.randperm(len(candidates), generator=generator)].tolist() if j not in drawn]
            if not free:
                return None
            drawn.append(free[0])
        return replace(self, chosen=torch.tensor(drawn).view(self.chosen.shape))

    def tensors(self) -> dict[str, Tensor]:
        own = {f"sae.{name}": tensor.contiguous().clone() for name, tensor in self.sae.tensors().items()}
        return own | {name: getattr(self, name).clone() for name in ("chosen", "mask", "beside", "numbers")}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Latents:
        sae = SAE.of_tensors({name.removeprefix("sae."): t for name, t in tensors.items() if name.startswith("sae.")})
        return cls(sae, tensors["chosen"], tensors["mask"], tensors["beside"], tensors["numbers"])

    @classmethod
    def swap_all(cls, features: Sequence[Latents], base: Tensor, sources: Tensor) -> Tensor:
        moved = dict[int, tuple[SAE, Tensor]]()
        for sae in (feature.sae for feature in features):
            if id(sae) not in moved:
                here = sae.to(base.device)
                moved[id(sae)] = here, here.encode(sources) - here.encode(base)
        return torch.stack([feature._change(*moved[id(feature.sae)]) for feature in features])

    def _change(self, sae: SAE, moved: Tensor) -> Tensor:
        """What the swap does to rows whose latents differ by `moved`, (variables, rows, latents)."""
        chosen, mask = self.chosen.to(moved.device), self.mask.to(moved)
        parts = [(moved[i][:, mine] * mask[i]) @ sae.decoder[mine] for i, mine in enumerate(chosen)]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True, eq=False)
class Reconstruction(Feature):
    """A vector's reconstruction in its place, whatever the source: what a dictionary costs before anything is swapped."""

    sae: SAE
    variables: int = 1

    @property
    def size(self) -> int:
        return self.sae.latents

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        return self.sae.to(base.device).reconstruct(base) - base.float()

    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        return self.sae.to(rows.device).encode(rows)

    def fits(self, width: int) -> bool:
        return self.sae.width == width

    def tensors(self) -> dict[str, Any]:
        return self.sae.tensors()

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Reconstruction:
        return cls(SAE.of_tensors(tensors))
