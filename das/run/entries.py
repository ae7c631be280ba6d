"""Entries: settings that are lists or mappings, as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from das.errors import DasError, shown
from das.ground.checks import fitted, number, short_text, whole
from das.network.site import joined_layers, layer_of
from das.task.positions import FROM

FEW = 10_000
"""Of seeds and draws, each of which is trained, and of layers."""


def shares(name: str, given: Any) -> dict[str, float]:
    """A mapping from names to shares above 0."""
    if not isinstance(given, Mapping) or not given:
        raise DasError(f"{name} is {shown(given)}: expected a mapping from names to shares, such as {{flip: 0.5, keep: 0.5}}")
    for key in given:
        if not isinstance(key, str):
            raise DasError(
                f"{name} holds {shown(key)}: expected names, for a run is made again from its config.yaml. Name a family of "
                "your own in the task's file: das.pairs.FAMILIES['mine'] = das.Family(…)"
            )
    return {key: number(f"share of {key!r} in {name}", share, 0, above=True) for key, share in given.items()}


def several(name: str, given: Any, kind: Any) -> list[Any]:
    """A list of different entries, from a list or a single entry; of texts also with commas between them."""
    entries = fitted(name, given, list[kind])
    if kind is str:
        entries = [part.strip() for entry in entries for part in entry.split(",")]
    if not entries:
        raise DasError(f"{name} is empty: expected at least one")
    for entry in entries:
        whole("layer", entry, 0, FEW) if isinstance(entry, int) else short_text(name, entry, 200)
    return list(dict.fromkeys(entries))


def layers_of(given: Any) -> list[int | str]:
    """Numbers, and texts for several layers as one site."""
    entries = several("layers", given, int | str)
    for entry in entries:
        if isinstance(entry, str) and not any(mark in entry for mark in ("+", FROM)):
            raise DasError(f"layers is {shown(given)}: expected all, or a list such as [0, 5, 10] or [3+5] (both as one site)")
        joined_layers(entry)
    return [layer_of(entry) for entry in entries]
