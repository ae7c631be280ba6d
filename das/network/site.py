"""Site: a component of the network, a layer and a position in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from das.errors import DasError, unknown

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
"""A component and its layer: a site without its position."""

BY_HEAD = ("heads", "query", "key", "value")


@dataclass(frozen=True)
class Site:
    """Where activations are swapped: a component at layer `layer` (from 0), at a named position."""

    layer: int
    position: str
    component: str = "block_output"

    @property
    def spot(self) -> Spot:
        return self.component, self.layer

    @property
    def entry(self) -> int:
        """The first layer that has to be run again after a change here."""
        return entry_of(self.spot)

    def __str__(self) -> str:
        return f"{self.component}[{self.layer}] @ {self.position}"


def entry_of(spot: Spot) -> int:
    """The first layer that has to be run again after a change at a spot."""
    component, layer = spot
    return layer + 1 if component == "block_output" else layer


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
