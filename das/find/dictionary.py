"""Dictionary: latents of a sparse autoencoder, chosen on training pairs, as what is swapped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from das.errors import DasError
from das.find.coordinates import Coordinates
from das.find.masks import Masked
from das.find.stack import Ground
from das.interchange.latents import Latents, candidates
from das.interchange.sae import SAE
from das.interchange.saelens import CONFIG, WEIGHTS, Kept, read
from das.network.site import Site


@dataclass(frozen=True)
class Dictionary(Masked):
    """Per variable k latents of the sparse autoencoder in a folder of SAELens' layout, no latent of two variables, less those
    that validation pairs do not need. All else of the base stays in a swap, so does what the latents do not reconstruct.

    by: `attribution`, how far to first order the latents' change between base and source takes the network from the base
    answer to the counterfactual one, summed over pairs (attribution patching: Syed et al., arXiv 2310.10348; on latents: Marks
    et al., arXiv 2403.19647); `probe`, the weights of a logistic probe of the variable's values on latents, each times how much
    the latent varies; or `mask`, a trained mask over all latents (see `das.find.masks`), for which alone the settings between
    `k` and `tolerance` are. random: a random dictionary of the same size and sparsity in its place. sum: the first digits of
    the folder's checksum, filled in by itself.
    """

    finder = "choosing"
    operand: ClassVar[str] = "path"

    path: str = ""
    by: str = field(default="attribution", metadata={"choices": ("attribution", "probe", "mask")})
    random: bool = False
    sum: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            raise DasError("dictionary names no folder: expected dictionary:FOLDER, or dictionary:FOLDER,k=16,by=probe")
        object.__setattr__(self, "sum", self.sum or _checksum(self.path))

    def units(self, entries: int) -> int:
        return _kept(self).sae.latents

    def parameters(self, entries: int, variables: int) -> int:
        return super().parameters(entries, variables) if self.trains else 0

    def kept(self, entries: int, variables: int) -> int:
        sae, chosen = _kept(self).sae, variables * min(self.k, self.units(entries))
        beside = chosen * candidates(chosen, sae.latents)
        own = sae.only(torch.arange(min(chosen + beside, sae.latents)))
        listed = super().kept(entries, variables) + 8 * (beside + own.latents)
        return listed + sum(tensor.nbytes for tensor in own.tensors().values())

    @property
    def trains(self) -> bool:  # type: ignore[override]
        return self.by == "mask"

    @property
    def by_value(self) -> bool:  # type: ignore[override]
        return self.by == "probe"

    @property
    def label(self) -> str:
        others = super().label.partition(",")[2].split(",")
        kept = [each for each in others if each and not each.startswith(("path=", "sum=", "random="))]
        name = f"{'random ' * self.random}dictionary{self.k} {Path(self.path).name}.{self.sum[:6]}"
        return ",".join([name, *kept])

    def check_site(self, site: Site) -> None:
        _kept(self).check_site(site, f"the dictionary in {self.path}")

    def check_vectors(self, entries: int) -> None:
        if entries != (width := _kept(self).sae.width):
            raise DasError(
                f"the dictionary in {self.path} is of vectors of {width} entries, and these have {entries}: choose positions "
                "of one token, and the layers and components that it is for"
            )

    def sae(self, rows: Tensor, variables: int) -> SAE:
        """The dictionary, or the random one. rows: (n, d), what it is to be of. DasError where it is of other vectors, or has
        too few latents for so many variables."""
        own = _kept(self).sae
        self.check_vectors(rows.shape[1])
        if variables * self.k > own.latents:
            raise DasError(
                f"k = {self.k} for {variables} variable(s) needs {variables * self.k} latents, and the dictionary in "
                f"{self.path} has {own.latents}: give k up to {own.latents // variables}"
            )
        return own.scrambled(rows) if self.random else own

    def coordinates(self, ground: Ground) -> Coordinates:
        self.check_site(ground.site)
        rows = ground.vectors()
        sae = self.sae(rows.cpu(), ground.variables)
        return LatentCoordinates(sae.to(rows.device), activity(sae, rows.cpu()))


def _checksum(path: str) -> str:
    try:
        return hashlib.sha256(b"".join((Path(path) / name).read_bytes() for name in (CONFIG, WEIGHTS))).hexdigest()[:16]
    except OSError as error:
        raise DasError(f"{path} holds no dictionary: expected a folder with {CONFIG} and {WEIGHTS}") from error


@cache
def _kept(kind: Dictionary) -> Kept:
    """What the folder holds. DasError where it was changed since."""
    if _checksum(kind.path) != kind.sum:
        raise DasError(f"{kind.path} is no longer what this run began with: put it back, or give the run another folder")
    return read(kind.path)


@dataclass(frozen=True, eq=False)
class LatentCoordinates(Coordinates):
    """The latents of a dictionary. activity: see `activity`."""

    sae: SAE
    activity: Tensor

    @property
    def size(self) -> int:
        return self.sae.latents

    def encode(self, rows: Tensor) -> Tensor:
        return self.sae.encode(rows)

    def decode(self, moved: Tensor) -> Tensor:
        return moved @ self.sae.decoder

    def feature(self, units: Tensor, mask: Tensor) -> Latents:
        return Latents.of(self.sae.to(self.activity.device), units, self.activity).masked(mask)


def activity(sae: SAE, rows: Tensor) -> Tensor:
    """(latents,): how much of a vector's length each latent accounts for, the standard deviation over vectors (rows, d)."""
    spread: Tensor = sae.encode(rows).std(0) * sae.decoder.norm(dim=1)
    return spread
