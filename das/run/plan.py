"""What an experiment will cost, before weights are loaded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from das.errors import DasError
from das.find.alignment import Cell
from das.find.kinds import Boundless, Nested
from das.find.rank import widths
from das.find.screen import PAIRS
from das.judge.nulls import SITES
from das.memory import SHARE, free_memory, room
from das.network.device import device_of
from das.network.lm import LM
from das.network.named import NAMED
from das.network.site import Site
from das.run.fit import corpus
from das.run.layout import Layout
from das.run.material import POOL
from das.run.settings import Settings
from das.task.shifts import named_shifts
from das.task.task import load_task
from das.task.tokenizer import make_tokenizer

ASSUMED = "an A100 with 80 GB", 312e12, 80 * 2**30
"""Where an experiment is to run on a CUDA device and there is none here: what it is planned for, its floating-point operations
per second in 16 bits, its bytes."""


@dataclass(frozen=True)
class Plan:
    """Counts and estimates for one experiment.

    grid, chosen: cells in the grid and added at the chosen ones; trained: of the grid, about as many as the budget pays for.
    tokens: of a prompt, and after the prefix that all share.
    flops, seconds: floating-point operations, and the time they will take, by what they are for. memory, disk: bytes by part.
    machine: what the time is estimated for: this machine, from a timed matrix product of the network's width, or `ASSUMED`.
    limit: the bytes that are free there. notes: what had to be assumed.
    """

    grid: int
    trained: int
    chosen: int
    forwards: int
    tokens: int
    own_tokens: int
    flops: dict[str, float]
    seconds: dict[str, float]
    memory: dict[str, float]
    disk: dict[str, float]
    machine: str
    limit: float
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The plan as lines for the console."""
        budget = f"about {self.trained} of them in the budget, " if self.trained < self.grid else ""
        work = ", ".join(f"{name} {amount / 1e12:,.1f}" for name, amount in self.flops.items())
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.seconds.items())
        return "\n".join(
            [
                *self.notes,
                f"cells        {self.grid} in the grid, {budget}{self.chosen} more on the chosen ones",
                f"prompts      {self.tokens} tokens, the last {self.own_tokens} their own",
                f"forwards     {self.forwards:,} partial ones (a cell's batch through the layers above it)",
                f"operations   {work} (× 10¹²)",
                f"time         about {duration(sum(self.seconds.values()))} on {self.machine}, without early stopping: {parts}",
                f"memory       {_bytes(self.memory)}{self._excess()}",
                f"disk         {_bytes(self.disk)}",
            ]
        )

    def _excess(self) -> str:
        if sum(self.memory.values()) <= self.limit:
            return ""
        free = f"{self.limit / 2**30:,.0f} GiB"
        return f", MORE THAN THE {free} THAT ARE FREE: a smaller batch or memory, or fewer cells at once (a hypothesis, a seed)"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a reader would say it."""
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} s"


def _bytes(parts: Mapping[str, float]) -> str:
    sizes = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in parts.items())
    return f"{sizes}; together {sum(parts.values()) / 2**30:,.1f} GiB"


def plan_of(settings: Settings) -> Plan:
    """The plan of an experiment. A named network whose tokenizer cannot be had is planned from its published shape, with a
    tokenizer made of the task's own words in place of its own; a note says so."""
    if settings.device == "auto" or not _elsewhere(settings):
        settings = replace(settings, device=str(device_of(settings.device)))
    try:
        return plan(Layout.from_settings(settings))
    except DasError:
        if settings.lm not in NAMED or not NAMED[settings.lm].shape:
            raise
        return replace(plan(Layout.from_settings(_shaped(settings))), notes=[_shape_note(settings)])


def _shaped(settings: Settings) -> Settings:
    """The settings with the network's shape for the network."""
    lm = LM.skeleton(str(settings.lm))
    lm.tokenizer = make_tokenizer(corpus(load_task(settings.task)))
    return replace(settings, lm=lm)


def _shape_note(settings: Settings) -> str:
    known = NAMED[settings.lm].known.get(load_task(settings.task).name)
    own = f" (which makes {known.tokens} tokens of a prompt)" if known else ""
    words = f"a tokenizer of the task's words in place of its own{own}"
    return f"{settings.lm} is not here: planned from its published shape, with {words}"


def plan(experiment: Layout) -> Plan:
    """Counts from the configuration, the tokenizer and the causal models alone."""
    e, s, config = experiment, experiment.settings, experiment.config
    tokens = int(e.sample.lengths.max())
    own = tokens - min(e.sample.common_prefix(), tokens - 1)
    grid, refined = e.grid(), e.refinement(dict.fromkeys(e.hypotheses, e.grid()[0].site))
    chosen = len(set(refined) - set(grid))
    share = 1.0 if s.budget is None else s.budget
    trained = max(len(e.hypotheses) * s.seeds, round(share * len(grid)))
    cells = trained + chosen
    flops = _flops(e, config, own, cells, cell_flops(e, grid))
    machine, rate = _rate(config.hidden_size, s)
    memory = _memory(e, config, own, cells)
    return Plan(
        grid=len(grid),
        trained=trained,
        chosen=chosen,
        forwards=round(cells * (s.steps + (_checked(s) + _judged(s)) / s.batch)),
        tokens=tokens,
        own_tokens=own,
        flops=flops,
        seconds={name: amount / rate / s.workers for name, amount in flops.items()},
        memory=memory,
        disk=_disk(e, config, cells),
        machine=machine,
        limit=_limit(s, memory),
    )


def cell_flops(e: Layout, cells: Sequence[Cell]) -> list[float]:
    """For each cell the floating-point operations of one row through what a swap there can change, forward."""
    suffix = _suffixes(e)
    return [_site_flops(e.config, cell.site, suffix[cell.site.position]) for cell in cells]


def _suffixes(e: Layout) -> dict[str, int]:
    """Position → tokens from there on, at most."""
    return {position: e.sample.ids.shape[1] - int(at.min()) for position, at in e.sample.positions.items()}


def _checked(s: Settings) -> int:
    """Validation pairs that a cell is checked on while it trains."""
    return -(-s.steps // s.check_every) * s.val_pairs


def _judged(s: Settings) -> float:
    """Pairs times subspaces that a cell is judged on: its own, a random and a soft one, and once per site the whole vector; on
    validation pairs its rank curve."""
    each = 2 + isinstance(s.kind, Boundless) + 1 / s.seeds
    curve = len(widths(s.kind.k)) if isinstance(s.kind, Nested) else 0
    return each * (s.val_pairs + s.test_pairs) + curve * s.val_pairs


def _flops(e: Layout, config: Any, own: int, cells: int, costs: Sequence[float]) -> dict[str, float]:
    """Floating-point operations by what they are for. costs: of one row through the layers above each cell of the grid."""
    s, size, each = e.settings, len(costs), sum(costs) / len(costs)
    capture = 2 * own * config.num_hidden_layers * _layer_flops(config)  # of a pair
    screened, every = min(PAIRS, s.train_pairs), len(e.hypotheses)
    flops = {}
    if s.budget is not None:
        slopes = 2 * max(costs)  # of all sites at once
        flops["screening"] = screened * (sum(costs) / s.seeds + every * (slopes + capture))
    trained = 2 * s.steps * s.batch * cells * each + _captured(e, config, own) * capture
    judged = _judged(s) * cells * each + s.workers * _distinct(e, s.val_pairs + s.test_pairs) * capture
    flops |= {"training": trained + _checked(s) * cells * each, "evaluation": judged}
    if s.nulls:
        searched = s.nulls * len(e.hypotheses) * min(SITES, size // len(e.hypotheses))  # cells of one null
        steps = s.steps * s.batch * (4 * searched * each + (s.nulls + 1) * every * capture)
        flops["nulls"] = steps + (2 * _checked(s) + 3 * s.val_pairs) * searched * each
    if shifts := named_shifts(s.shifts, e.task.shifts):
        shares = list(s.retrain.values()) if isinstance(s.retrain, dict) else [s.retrain] * len(shifts)
        trained_anew = sum(shares) * (flops["training"] + flops["evaluation"])
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


def _subspace_bytes(e: Layout, config: Any, cells: int) -> float:
    """Of all the cells' bases."""
    return float(4 * cells * config.hidden_size * e.settings.kind.width * max(e.variables.values()))


def _memory(e: Layout, config: Any, own: int, cells: int) -> dict[str, float]:
    """Bytes by part: weights, a batch's captures, those that are kept between steps, what one cell's backward holds, the
    subspaces with their optimiser."""
    s, depth, d = e.settings, config.num_hidden_layers, config.hidden_size
    size = _number_bytes(e)
    return {
        "weights": size * (depth * _layer_flops(config) / 2 + 2 * config.vocab_size * d),
        "captures": _pair_bytes(e, config, own) * s.batch * len(e.hypotheses),
        "kept captures": min(_room(s), _every_capture(e, config, own)),
        "one cell": size * s.batch * own * 24 * d * depth / 2,
        "subspaces": 6 * _subspace_bytes(e, config, cells),
        "prompts": 8 * own * POOL * len(e.hypotheses) * 2 * (s.train_pairs + s.val_pairs + s.test_pairs),
    }


def _limit(s: Settings, memory: Mapping[str, float]) -> float:
    """Bytes that are free, those of a network that is loaded already among them."""
    if _elsewhere(s):
        return ASSUMED[2]
    loaded = isinstance(s.lm, LM) and s.lm.device.type != "meta"
    return free_memory(torch.device(s.device)) + (memory["weights"] if loaded else 0)


def _room(s: Settings) -> float:
    """Bytes for captures on the device, or on the one that is assumed."""
    if s.memory is None and _elsewhere(s):
        return SHARE * ASSUMED[2]
    return room(s.memory, torch.device("cpu" if _elsewhere(s) else s.device))


def _disk(e: Layout, config: Any, cells: int) -> dict[str, float]:
    """Bytes in the run's folder: alignments, their hits on every test pair, pairs and tables; and while it trains, checkpoints
    of bases with Adam's two moments."""
    s = e.settings
    kept = _subspace_bytes(e, config, cells)
    pairs = len(e.hypotheses) * (s.train_pairs + s.val_pairs + s.test_pairs)
    return {"alignments": kept + cells * (s.test_pairs + 2**12), "pairs": 50.0 * pairs, "checkpoints": 3 * kept}


REACHED = 0.4
"""The share of a matrix product's speed that a step reaches as a whole (measured on the demo)."""


def _elsewhere(s: Settings) -> bool:
    """Whether the run is meant for a CUDA device and there is none here."""
    return s.device.startswith("cuda") and not torch.cuda.is_available()


def _rate(width: int, s: Settings) -> tuple[str, float]:
    """A machine, and the floating-point operations per second that it reaches on a network of that width."""
    if _elsewhere(s):
        return f"{ASSUMED[0]} (assumed: there is no CUDA device here)", REACHED * ASSUMED[1]
    before = torch.get_num_threads()
    torch.set_num_threads(s.threads or before)
    try:
        return "this machine", REACHED * _timed_product(width, s)
    finally:
        torch.set_num_threads(before)


def _timed_product(width: int, s: Settings) -> float:
    dtype = getattr(torch, s.dtype)
    a, b = (torch.randn(*shape, dtype=dtype, device=s.device) for shape in ((512, width), (width, 3 * width)))
    for _ in range(10):
        a @ b
    times = []
    for _ in range(5):
        _wait()
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        _wait()
        times.append(time.perf_counter() - start)
    return float(4 * 2 * 512 * width * 3 * width / np.median(times))


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
