"""Neurons: a trained mask on the entries of the vectors themselves, on whole heads, or on principal components."""

from __future__ import annotations

from dataclasses import dataclass, field

from das.errors import DasError
from das.find.coordinates import Axes, Coordinates, Directions
from das.find.directions import principal
from das.find.masks import Masked
from das.find.stack import Ground
from das.network.site import BY_HEAD, Place, parse_component

MOST = 512
"""Principal components over which there is a mask."""


@dataclass(frozen=True)
class Neurons(Masked):
    """Desiderata-based (or differential binary) masking."""

    over: str = field(default="axes", metadata={"choices": ("axes", "heads", "pca")})

    def coordinates(self, ground: Ground) -> Coordinates:
        if self.over == "pca":
            rows = ground.vectors()
            return Directions(principal(rows - rows.mean(0), MOST))
        block = 1 if self.over == "axes" else _head(self, ground)
        return Axes(sum(ground.sizes), block)


def _head(kind: Neurons, ground: Ground) -> int:
    """The entries of a head at a site; DasError where it is not made of heads."""
    sizes = {_head_size(place, ground) for place in ground.site.places}
    if len(sizes) != 1 or None in sizes:
        raise DasError(
            f"{kind.label} at {ground.site}: expected a component that is made of heads of one size: {', '.join(BY_HEAD)}"
        )
    return sizes.pop() or 0


def _head_size(place: Place, ground: Ground) -> int | None:
    parsed = parse_component(place.component)
    if parsed is None or parsed[0] not in BY_HEAD:
        return None
    return ground.engine.lm.size(f"{parsed[0]}.0", place.layer)
