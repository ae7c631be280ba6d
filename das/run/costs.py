"""Costs: floating-point operations and bytes of an experiment, from its layout alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from das.find.alignment import Cell
from das.find.directions import ROWS
from das.find.kinds import Kind
from das.find.rank import curve_widths
from das.find.screen import PAIRS
from das.judge.nulls import SITES
from das.memory import SHARE, free_memory, room
from das.network.lm import LM
from das.network.site import Site
from das.pairs.origin import POOL
from das.run.layout import Layout
from das.run.machine import ASSUMED, device, elsewhere
from das.run.settings import Settings
from das.task.plain_shifts import named_shifts


def cell_flops(e: Layout, cells: Sequence[Cell]) -> list[float]:
    """For each cell the floating-point operations of one row through what a swap there can change, forward."""
    suffix = _suffixes(e)
    longest = {site: max(suffix[place.position] for place in site.places) for site in {cell.site for cell in cells}}
    return [_site_flops(e.network.shape, cell.site, longest[cell.site]) for cell in cells]


def _suffixes(e: Layout) -> dict[str, int]:
    """Position → tokens from there on, at most."""
    return {position: e.sample.width - int(at.min()) for position, at in e.sample.positions.items()}


def checked(s: Settings) -> int:
    """Validation pairs that a cell is checked on while it trains."""
    return -(-s.steps // s.check_every) * s.val_pairs


def judged(s: Settings) -> float:
    """Pairs times features that a cell is judged on: its own, a random and a soft one, and once per site the whole vector; on
    validation pairs its rank curve."""
    each = 2 + (s.kind.annealed and s.kind.trains) + 1 / s.seeds
    return each * (s.val_pairs + s.test_pairs) + _curve(s.kind) * s.val_pairs


def _curve(kind: Kind) -> int:
    """How many widths are on the rank curve of a cell."""
    return len(curve_widths(kind, getattr(kind, "k", 1))) if kind.ordered else 0


def judged_closed(e: Layout, closed: int) -> float:
    """Pairs times subspaces that so many cells of closed forms are judged on, those of their rank curves among them."""
    s = e.settings
    curves = [_curve(kind) * s.val_pairs for kind in s.kinds_closed]
    each = 2 + 1 / max(1, len(curves))
    return closed * (each * (s.val_pairs + s.test_pairs) + sum(curves) / max(1, len(curves)))


def flops(
    e: Layout, config: Any, own: int, cells: int, training: int, closed: int, costs: Sequence[float]
) -> dict[str, float]:  # fmt: skip
    """Floating-point operations by what they are for. training: of the cells, those that train; closed: cells of closed forms
    beside them. costs: of one row through the layers above each cell of the grid."""
    s, size, each = e.settings, len(costs), sum(costs) / len(costs)
    capture = 2 * own * config.num_hidden_layers * _layer_flops(config)  # of a pair
    screened, every = min(PAIRS, s.train_pairs), len(e.hypotheses)
    flops = {}
    if s.screens:
        slopes = 2 * max(costs)  # of all sites at once
        flops["screening"] = screened * (sum(costs) / s.seeds + every * (slopes + capture))
    if training:
        trained = 2 * s.steps * s.batch * training * each + _captured(e, config, own) * capture
        flops["training"] = trained + checked(s) * training * each
    flops["evaluation"] = judged(s) * cells * each + s.workers * _distinct(e, s.val_pairs + s.test_pairs) * capture
    if closed or not s.kind.trains:
        seen = _distinct(e, min(ROWS, s.train_pairs) + s.val_pairs + s.test_pairs)
        flops["closed forms"] = judged_closed(e, closed) * each + s.workers * seen * capture
    if s.nulls:
        searched = s.nulls * len(e.hypotheses) * min(SITES, size // len(e.hypotheses))  # cells of one null
        steps = s.kind.trains * s.steps * s.batch * (4 * searched * each + (s.nulls + 1) * every * capture)
        flops["nulls"] = steps + (2 * s.kind.trains * checked(s) + 3 * s.val_pairs) * searched * each
    if shifts := named_shifts(s.shifts, e.task.shifts):
        shares = list(s.retrain.values()) if isinstance(s.retrain, dict) else [s.retrain] * len(shifts)
        trained_anew = sum(shares) * (flops.get("training", 0) + flops["evaluation"])
        flops["shifts"] = trained_anew + (1 + sum(shares)) * len(shifts) * 3 * s.test_pairs * cells * each
    return flops


def _captured(e: Layout, config: Any, own: int) -> float:
    """How many pairs are captured in training: those that find room once, the others whenever they are drawn. Each worker
    captures for itself."""
    s = e.settings
    kept = min(1.0, _room(s) / s.workers / _every_capture(e, config, own))
    drawn = s.steps * s.batch
    return s.workers * (kept * _distinct(e, min(s.train_pairs, drawn)) + (1 - kept) * len(e.hypotheses) * drawn)


def _distinct(e: Layout, pairs: int) -> float:
    """Distinct prompts that are bases, or sources, of so many pairs of each hypothesis, all from one pool."""
    return POOL * pairs * (1 - (1 - 1 / POOL) ** len(e.hypotheses))


def _every_capture(e: Layout, config: Any, own: int) -> float:
    """Bytes of the captures of all pairs that are trained and chosen on."""
    return _pair_bytes(e, config, own) * _distinct(e, e.settings.train_pairs + e.settings.val_pairs)


def _pair_bytes(e: Layout, config: Any, own: int) -> float:
    """Of a pair's captures: both prompts' hidden states at the grid's layers, from the first position on, and the base's keys
    and values at all."""
    suffix = max(_suffixes(e).values())
    keys = 2 * config.num_hidden_layers * config.hidden_size * _key_heads(config) / config.num_attention_heads
    return float(_number_bytes(e) * (2 * suffix * config.hidden_size * len(e.layers) + own * keys))


def _key_heads(config: Any) -> int:
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _number_bytes(e: Layout) -> int:
    return 4 if e.settings.dtype == "float32" else 2


def _site_flops(config: Any, site: Site, suffix: int) -> float:
    """Layers above a site, the last for one token, and the head."""
    above = config.num_hidden_layers - site.entry
    token_layers = max(0, above - 1) * suffix + (suffix / 4 + 1 if above else 0)
    return float(token_layers * _layer_flops(config) + 2 * config.hidden_size * config.vocab_size)


def _layer_flops(config: Any) -> float:
    """Of one token through one layer, forward: two per weight."""
    d = config.hidden_size
    heads, groups = config.num_attention_heads, _key_heads(config)
    inner = getattr(config, "intermediate_size", None) or 4 * d
    gates = 3 if getattr(config, "hidden_act", "") in ("silu", "gelu_pytorch_tanh") else 2
    weights: int = round(2 * d * d + 2 * d * d * groups / heads + gates * d * inner)
    return 2.0 * weights


Cells = Mapping[Kind, float]
"""How many there are of each kind."""


def _sizes(e: Layout, config: Any) -> tuple[int, int]:
    """Entries of the longest vector of a site, each token's a hidden state, and the most variables."""
    tokens = (sum(e.sample.positions[place.position].shape[1] for place in site.places) for site in e.sites)
    return config.hidden_size * max(tokens), max(e.variables.values())


def _parameter_bytes(e: Layout, config: Any, cells: Cells) -> float:
    """Of all that trains of cells."""
    return sum(4 * count * kind.parameters(*_sizes(e, config)) for kind, count in cells.items())


def memory(e: Layout, config: Any, own: int, cells: Cells) -> dict[str, float]:
    """Bytes by part: weights, a batch's captures, those that are kept between steps, what one cell's backward holds, the
    subspaces or masks with their optimiser."""
    s, depth, d = e.settings, config.num_hidden_layers, config.hidden_size
    size = _number_bytes(e)
    return {
        "weights": size * (depth * _layer_flops(config) / 2 + 2 * config.vocab_size * d),
        "captures": _pair_bytes(e, config, own) * s.batch * len(e.hypotheses),
        "kept captures": min(_room(s), _every_capture(e, config, own)),
        "one cell": size * s.batch * own * 24 * d * depth / 2,
        "subspaces": 6 * _parameter_bytes(e, config, cells),
        "prompts": 8 * own * POOL * len(e.hypotheses) * 2 * (s.train_pairs + s.val_pairs + s.test_pairs),
    }


def limit(s: Settings, memory: Mapping[str, float]) -> float:
    """Bytes that are free, those of a network that is loaded already among them."""
    if elsewhere(s):
        return ASSUMED[2]
    loaded = isinstance(s.lm, LM) and s.lm.device.type != "meta"
    return free_memory(device(s)) + (memory["weights"] if loaded else 0)


def _room(s: Settings) -> float:
    """Bytes for captures on the device, or on the one that is assumed."""
    if s.memory is None and elsewhere(s):
        return SHARE * ASSUMED[2]
    return room(s.memory, device(s))


def disk(e: Layout, config: Any, cells: Cells) -> dict[str, float]:
    """Bytes in the run's folder: alignments, their hits on every test pair, pairs and tables; and while it trains, checkpoints
    of what trains, as it is and at its best, with Adam's two moments."""
    s = e.settings
    kept = sum(count * (kind.kept(*_sizes(e, config)) + s.test_pairs + 2**12) for kind, count in cells.items())
    pairs = len(e.hypotheses) * (s.train_pairs + s.val_pairs + s.test_pairs)
    return {"alignments": kept, "pairs": 50.0 * pairs, "checkpoints": 4 * _parameter_bytes(e, config, cells)}
