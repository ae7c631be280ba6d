"""Prices: what a unit of work takes on a machine, measured by a calibration or assumed; and where calibrations are kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from das import __version__
from das.errors import DasError
from das.ground.storage import read_json, write
from das.run.amounts import OPERATIONS, UNITS, Amounts
from das.run.layout import Layout
from das.run.machine import Machine, device, rough, threads_of
from das.run.shape import key_heads

SMALL = {
    "cells": 2e-3, "steps": 5e-3, "features": 3e-4, "batches": 5e-3, "pairs": 4e-4, "loads": 3.0, "networks": 0.5,
    "records": 0.03, "forms": 0.02, "cards": 0.5,
}  # fmt: skip
"""Seconds of what is no network's arithmetic, as one core of a server takes them, where nothing was measured."""

LAYERS = {"captured": 1.0, "trained": 3.0, "judged": 1.0}
"""How many times as long as a forward it takes to call a layer, forward and where there are gradients also backward."""


@dataclass(frozen=True)
class Prices:
    """Seconds of each of `das.run.amounts.UNITS`. where: in words, what they hold for; when: the day they were measured, empty
    where they are rough."""

    seconds: Mapping[str, float]
    where: str
    when: str = ""

    def of(self, amounts: Amounts) -> float:
        """Seconds of so much work."""
        return sum(self.seconds[unit] * amount for unit, amount in amounts.items())


def roughly(rate: float, layer: float, where: str) -> Prices:
    """From floating-point operations per second, and the seconds in which a layer is called."""
    flops = {unit: factor / rate for unit, factor in OPERATIONS.items()}
    layers = {f"{unit} layers": factor * layer for unit, factor in LAYERS.items()}
    return Prices({**SMALL, **flops, **layers}, where)


def prices(e: Layout, machine: Machine | None) -> Prices:
    """Of a machine by its name, of this one as it was calibrated for the network's shape, or else roughly."""
    if machine:
        return roughly(machine.rate(e.settings.dtype), machine.layer, f"{machine.name} (assumed, not measured)")
    if kept := read(e):
        return kept
    return roughly(*rough(e.network.shape.hidden_size, e.settings), "this machine")


# --- calibrations that are kept ---


def folder() -> Path:
    """The user's folder for what can be made again: `DAS_CACHE`, or `das` where the system keeps caches."""
    if own := os.environ.get("DAS_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "das"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "das"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "das"


def made_for(e: Layout) -> dict[str, Any]:
    """What a calibration holds for: the machine, and the network's shape."""
    s, config, here = e.settings, e.network.shape, device(e.settings)
    with threads_of(s) as threads:
        machine = {
            "machine": f"{platform.node()} {platform.machine()} {os.cpu_count()}",
            "device": torch.cuda.get_device_name(here) if here.type == "cuda" else here.type,
            "threads": threads, "torch": torch.__version__, "das": __version__, "dtype": s.dtype,
        }  # fmt: skip
    shape = {
        "width": config.hidden_size, "layers": config.num_hidden_layers, "heads": config.num_attention_heads,
        "key_heads": key_heads(config), "inner": getattr(config, "intermediate_size", None), "words": config.vocab_size,
        "type": getattr(config, "model_type", "other"),
    }  # fmt: skip
    return machine | shape


def path(e: Layout) -> Path:
    """Where the calibration for a layout lies, or will."""
    key = json.dumps(made_for(e), sort_keys=True)
    return folder() / "calibrations" / f"{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.json"


def read(e: Layout) -> Prices | None:
    """The calibration that is kept for a layout's network on this machine; None where there is none that can be read."""
    try:
        body = read_json(path(e))
        seconds = {unit: float(body["seconds"][unit]) for unit in UNITS}
        fits = body["made_for"] == made_for(e) and all(value >= 0 for value in seconds.values())
        return Prices(seconds, str(body["where"]), str(body["when"])) if fits else None
    except (DasError, OSError, KeyError, TypeError, ValueError):
        return None


def keep(e: Layout, seconds: Mapping[str, float], probes: list[dict[str, Any]]) -> Prices:
    """Writes a calibration to the user's folder; probes: what it was measured by."""
    made = Prices(dict(seconds), "this machine", time.strftime("%Y-%m-%d"))
    body = asdict(made) | {"made_for": made_for(e), "probes": probes}
    write(path(e), lambda p: p.write_text(json.dumps(body, indent=1) + "\n", "utf-8"), noted=False)
    return made
