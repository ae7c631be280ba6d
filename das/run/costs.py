"""Costs: bytes that an experiment takes, in memory and on disk, and what its cells cost beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from das.find.alignment import Cell
from das.find.kinds import Kind
from das.memory import SHARE, room
from das.network.lm import LM
from das.pairs.origin import POOL
from das.run.amounts import Meter
from das.run.captured import every_bytes, number_bytes, pair_bytes
from das.run.layout import Layout
from das.run.machine import Machine, device, free
from das.run.settings import Settings
from das.run.shape import layer_weights, site_flops


def cell_flops(e: Layout, cells: Sequence[Cell]) -> list[float]:
    """For each cell the floating-point operations of one row through what a swap there can change, forward."""
    meter = Meter(e)
    each = {site: site_flops(e.network.shape, site, meter.suffix(site)) for site in {cell.site for cell in cells}}
    return [each[cell.site] for cell in cells]


Cells = Mapping[Kind, float]
"""How many there are of each kind."""


def _sizes(e: Layout, config: Any) -> tuple[int, int]:
    """Entries of the longest vector of a site, each token's a hidden state, and the most variables."""
    tokens = (sum(e.sample.positions[place.position].shape[1] for place in site.places) for site in e.sites)
    return config.hidden_size * max(tokens), max(e.variables.values())


def _parameter_bytes(e: Layout, config: Any, cells: Cells) -> float:
    """Of all that trains of cells."""
    return sum(4 * count * kind.parameters(*_sizes(e, config)) for kind, count in cells.items())


def memory(e: Layout, config: Any, own: int, cells: Cells, machine: Machine | None) -> dict[str, float]:
    """Bytes by part: weights, a batch's captures, those that are kept between steps, what one cell's backward holds, the
    subspaces or masks with their optimiser."""
    s, depth, d = e.settings, config.num_hidden_layers, config.hidden_size
    size = number_bytes(e)
    return {
        "weights": size * (depth * float(layer_weights(config)) + 2 * config.vocab_size * d),
        "captures": pair_bytes(e, own) * s.batch * len(e.hypotheses),
        "kept captures": min(capture_room(s, machine), every_bytes(e, own)),
        "one cell": size * s.batch * own * 24 * d * depth / 2,
        "subspaces": 6 * _parameter_bytes(e, config, cells),
        "prompts": 8 * own * POOL * len(e.hypotheses) * 2 * (s.train_pairs + s.val_pairs + s.test_pairs),
    }


def limit(s: Settings, memory: Mapping[str, float], machine: Machine | None) -> float:
    """Bytes that are free, those of a network that is loaded already among them."""
    loaded = machine is None and isinstance(s.lm, LM) and s.lm.device.type != "meta"
    return free(s, machine) + (memory["weights"] if loaded else 0)


def capture_room(s: Settings, machine: Machine | None) -> float:
    """Bytes for captures on the device, or on that of the machine that is planned for."""
    if s.memory is None and machine:
        return SHARE * machine.memory
    return room(s.memory, device(s))


def disk(e: Layout, config: Any, cells: Cells) -> dict[str, float]:
    """Bytes in the run's folder: alignments, their hits on every test pair, pairs and tables; and while it trains, checkpoints
    of what trains, as it is and at its best, with Adam's two moments."""
    s = e.settings
    kept = sum(count * (kind.kept(*_sizes(e, config)) + s.test_pairs + 2**12) for kind, count in cells.items())
    pairs = len(e.hypotheses) * (s.train_pairs + s.val_pairs + s.test_pairs)
    return {"alignments": kept, "pairs": 50.0 * pairs, "checkpoints": 4 * _parameter_bytes(e, config, cells)}
