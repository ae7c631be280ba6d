"""Site: where activations are swapped: one place or several, each a component, a layer and a position in the prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from das.errors import DasError, shown, unknown
from das.task.positions import FROM, joined_positions

COMPONENTS = {
    "block_output": "what a layer hands on",
    "attention_output": "what attention adds, before any norm that follows it",
    "mlp_output": "what the MLP adds, before any norm that follows it",
    "mlp_neurons": "the MLP's neurons, after the activation function",
    "heads": "what every head read, before the output projection; heads.3: that head alone",
    "query": "queries as projected; query.3: of that head alone",
    "key": "keys as projected; key.3: of that group alone",
    "value": "values as projected; value.3: of that group alone",
}
"""Components that are known by name; any other is a dotted path to a module, with {layer} for the layer's number."""

Spot = tuple[str, int]
"""A component and its layer: a place without its position."""

BY_HEAD = ("heads", "query", "key", "value")


@dataclass(frozen=True)
class Place:
    """One position at one component of one layer (from 0)."""

    layer: int
    position: str
    component: str = "block_output"

    @property
    def spot(self) -> Spot:
        return self.component, self.layer

    def __str__(self) -> str:
        return f"{self.component}[{self.layer}] @ {self.position}"


@dataclass(frozen=True)
class Site:
    """Where activations are swapped: one place, or several, whose vectors stand one behind another as one.

    layer, position, component: of one place, or of several, joined by `+`: the first layer goes with the first position and
    the first component, and so on; what is named once goes with all. `amount.last<-last`, `4<-3` and `heads.1<-heads.3` give
    the base's place the vector of the source's.

    >>> str(Site("3+5", "amount.last+last"))
    'block_output[3] @ amount.last + block_output[5] @ last'
    """

    layer: int | str
    position: str
    component: str = "block_output"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", layer_of(self.layer))
        object.__setattr__(self, "component", self.component.replace(" ", ""))
        self.pairs  # noqa: B018  (what does not go together is reported here)

    @cached_property
    def pairs(self) -> tuple[tuple[Place, Place], ...]:
        """Each place of a base, with the place of a source whose vector it takes."""
        axes: dict[str, list[tuple[Any, Any]]] = {
            "layer": joined_layers(self.layer), "position": joined_positions(self.position),
            "component": joined_components(self.component),
        }  # fmt: skip
        several = max(map(len, axes.values()))
        for name, entries in axes.items():
            if len(entries) not in (1, several):
                most = next(other for other, entries in axes.items() if len(entries) == several)
                raise DasError(
                    f"{name} {getattr(self, name)} and {most} {getattr(self, most)} cannot make one site: they go together one "
                    f"by one, so give as many of each ({several}), or a single {name} for all"
                )
        rows = zip(*(entries * (several // len(entries)) for entries in axes.values()), strict=True)
        return _different(tuple((Place(*base), Place(*source)) for base, source in (zip(*row, strict=True) for row in rows)))

    @property
    def places(self) -> tuple[Place, ...]:
        """Of a base, where its vectors are changed."""
        return tuple(base for base, _ in self.pairs)

    @property
    def sources(self) -> tuple[Place, ...]:
        """Of a source, whose vectors the places of a base take."""
        return tuple(source for _, source in self.pairs)

    @property
    def single(self) -> bool:
        """Whether it is one place, the same of base and source."""
        return len(self.pairs) == 1 and self.places == self.sources

    @property
    def spot(self) -> Spot:
        """Of a site of one place; DasError of any other."""
        if not self.single:
            raise DasError(f"{self} is a site of several places, or of another place of the source: this is made for one")
        return self.places[0].spot

    @property
    def spots(self) -> list[Spot]:
        """Of all places, the sources' too, each once."""
        return list(dict.fromkeys(place.spot for pair in self.pairs for place in pair))

    @property
    def positions(self) -> list[str]:
        """Likewise."""
        return list(dict.fromkeys(place.position for pair in self.pairs for place in pair))

    @property
    def staged(self) -> bool:
        """Whether the network may reach one of the places from another: they are not at one point of its way."""
        return len({(_stage(place.component), place.layer) for place in self.places}) > 1

    @property
    def entry(self) -> int:
        """The first layer that has to be run again after a change here."""
        return min(entry_of(place.spot) for place in self.places)

    def __str__(self) -> str:
        return " + ".join(str(base) if base == source else f"{base} {FROM} {source}" for base, source in self.pairs)


def _different(pairs: tuple[tuple[Place, Place], ...]) -> tuple[tuple[Place, Place], ...]:
    places = [base for base, _ in pairs]
    for place in places:
        if places.count(place) > 1:
            raise DasError(f"{place} is named twice in one site: a place can be given one vector only")
    return pairs


def _stage(component: str) -> str:
    """What of a layer's way a component lies at: heads lie side by side."""
    name, _, head = component.rpartition(".")
    return name if name in BY_HEAD and head.isdecimal() else component


def entry_of(spot: Spot) -> int:
    """The first layer that has to be run again after a change at a spot."""
    component, layer = spot
    return layer + 1 if component == "block_output" else layer


# --- reading what a user writes ---


def layer_of(given: int | str) -> int | str:
    """A layer's number; a text where there are several, or one with another of the source."""
    if isinstance(given, str):
        text = given.replace(" ", "")
        return int(text) if text.isdecimal() else text
    return given


def joined_layers(given: int | str) -> list[tuple[int, int]]:
    """The layers that `3+5` joins, each as (the base's, the source's): `4<-3` takes what the source has in another layer."""
    entries = str(layer_of(given)).split("+")
    if not all(re.fullmatch(rf"\d{{1,6}}(?:{FROM}\d{{1,6}})?", entry) for entry in entries):
        raise DasError(f"layer {shown(given)} cannot be read: write 3, or 3+5 for two as one site, or 4<-3 (base<-source)")
    return [(int(base), int(source or base)) for base, _, source in (entry.partition(FROM) for entry in entries)]


def first_layer(given: int | str) -> int:
    """The base's layer, the first of several."""
    return joined_layers(given)[0][0]


def single_layers(given: Sequence[int | str]) -> list[int]:
    """Every single layer that is named, of bases or sources, in order."""
    return sorted({layer for entry in given for pair in joined_layers(entry) for layer in pair})


def joined_components(text: str) -> list[tuple[str, str]]:
    """The components that `heads.1+heads.3` joins, each as (the base's, the source's)."""
    entries = (entry.partition(FROM) for entry in text.split("+"))
    return [(base, source if arrow else base) for base, arrow, source in entries]


def single_components(texts: Sequence[str]) -> list[str]:
    """Every single component that is named, of bases or sources, each once."""
    return list(dict.fromkeys(name for text in texts for pair in joined_components(text) for name in pair))


def parse_component(text: str) -> tuple[str, int | None] | None:
    """(name, head or None) of a component known by name; None for a path to a module."""
    name, dot, head = text.partition(".")
    if name not in COMPONENTS:
        if "." in text:
            return None
        raise unknown("component", text, [*COMPONENTS, "a.dotted.path.{layer}"])
    if not dot:
        return name, None
    if name not in BY_HEAD or not head.isdecimal():
        raise DasError(f"component {text!r}: only {', '.join(BY_HEAD)} have numbered heads, as in heads.3")
    return name, int(head)


def place_text(entry: Mapping[str, Any]) -> str:
    """A site as tables and figures call it, from a mapping with its fields; the usual component goes unsaid."""
    component = "" if entry["component"] == "block_output" else f"{entry['component']}, "
    return f"{component}layer {entry['layer']}, {entry['position']}"
