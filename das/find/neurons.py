"""Neurons: a trained mask on the entries of the vectors themselves, on whole heads, or on principal components."""

from __future__ import annotations

from dataclasses import dataclass, field

from das.errors import DasError
from das.find.coordinates import Axes, Coordinates, Directions
from das.find.directions import principal
from das.find.masks import Masked
from das.find.stack import Ground
from das.network.site import BY_HEAD, Place, Site

COMPONENTS = 512
"""Principal components over which there is a mask."""


@dataclass(frozen=True)
class Neurons(Masked):
    """Desiderata-based masking (Davies et al. 2023, arXiv 2307.03637; De Cao et al. 2020, arXiv 2004.14992): a trained mask.

    over: `axes`, the entries of the vectors, such as neurons; `heads`, whole heads, at a component that is made of them (each
    token's by itself); `pca`, principal components of the training prompts' vectors, at most `COMPONENTS` of them.
    k: the most units per variable. Unit i is swapped by σ(lᵢ/T); the temperature T falls geometrically from `start` to `end`.
    `penalty` is added to the loss for every k units by which the open gates, Σ σ(lᵢ/T), are more than k: fewer cost nothing. At
    evaluation the mask is hard: of the k units of the largest l those with l > 0 are swapped, less those without which the
    validation IIA stays within `tolerance` of the best.
    """

    projects = True

    k: int = 32
    over: str = field(default="axes", metadata={"choices": ("axes", "heads", "pca")})

    def check_site(self, site: Site) -> None:
        others = [place.component for place in site.places if self.over == "heads" and _head_of(place) is None]
        if others:
            raise DasError(
                f"{self.label} at {site}: {others[0]} is not made of heads; give components that are: {', '.join(BY_HEAD)}"
            )

    def units(self, entries: int) -> int:
        return min(entries, COMPONENTS) if self.over == "pca" else entries

    def kept(self, entries: int, variables: int) -> int:
        columns = variables * min(self.k, self.units(entries)) if self.over == "pca" else 0
        return super().kept(entries, variables) + 4 * columns * entries

    def coordinates(self, ground: Ground) -> Coordinates:
        if self.over == "pca":
            rows = ground.vectors()
            return Directions(principal(rows - rows.mean(0), COMPONENTS))
        block = 1 if self.over == "axes" else _head_size(self, ground)
        return Axes(sum(ground.sizes), block)


def _head_of(place: Place) -> str | None:
    """The component that is the first head of a place, if it is made of heads."""
    name, _, head = place.component.partition(".")
    return f"{name}.0" if name in BY_HEAD and (not head or head.isdecimal()) else None


def _head_size(kind: Neurons, ground: Ground) -> int:
    """The entries of a head at a site. DasError where it is not made of heads of one size."""
    kind.check_site(ground.site)
    firsts = {(head, place.layer) for place in ground.site.places if (head := _head_of(place))}
    sizes = sorted({ground.engine.lm.size(*first) for first in firsts})
    if len(sizes) > 1:
        raise DasError(f"{kind.label} at {ground.site}: one mask is over heads of one size, and these have {sizes} entries")
    return sizes[0]
