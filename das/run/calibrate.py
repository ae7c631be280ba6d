"""Calibrate: what units of work take on this machine, measured for about a minute with the engine itself and kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from das.errors import DasError
from das.network.device import device_of
from das.network.lm import LM
from das.progress import Reporter, silent
from das.run.amounts import UNITS, Amounts, Meter
from das.run.layout import Layout
from das.run.machine import threads_of, working
from das.run.prices import SMALL, Prices, keep
from das.run.probes import Bench, Probe, Watch

FITTED = {
    "capturing": ("captured", "captured layers"),
    "training": ("trained", "trained layers", "cells", "steps"),
    "judging": ("judged", "judged layers", "features", "batches"),
}
"""Pieces of a run → the units whose prices are fitted to what they took."""

FEW_LAYERS = 4
"""Of a network that is not here: so many layers with random weights stand for all."""

PAIRS, MORE = 64, 256
"""Pairs of a hypothesis that are drawn, and once more of them, so that it is seen what one takes."""


def calibrate(e: Layout, report: Reporter = silent) -> Prices:
    """Measures the prices of a layout's network on this machine, and keeps them."""
    with threads_of(e.settings):
        probes = _measured(e, report)
    return keep(e, {**SMALL, **_prices(probes)}, [{"name": p.name, "seconds": p.seconds, **p.amounts} for p in probes])


def _measured(e: Layout, report: Reporter) -> list[Probe]:
    steps = ["loading", *FITTED, "the rest"]
    with report.task("calibrating", len(steps)) as step:
        step(0, steps[0])
        small, watch, loading = _small(e)
        bench, probes = Bench(small, watch, Meter(small, working(e.settings, None))), list(loading)
        for i, name in enumerate(FITTED, 1):
            step(i, name)
            probes += getattr(bench, name)()
        step(len(steps) - 1, steps[-1])
        seconds_of = partial(_seconds, {**SMALL, **_prices(probes)})
        rest = [bench.records(seconds_of), bench.forms(seconds_of), bench.cards(seconds_of), bench.networks()]
        return [*probes, *(probe for probe in rest if probe)]


def _seconds(prices: Mapping[str, float], amounts: Amounts) -> float:
    return sum(prices[unit] * amount for unit, amount in amounts.items())


# --- the network, with few pairs ---


def _small(e: Layout) -> tuple[Layout, Watch, list[Probe]]:
    """The layout with few pairs, on the network itself or, where it is not here, on one of its shape; and what loading it and
    drawing pairs took."""
    watch = Watch(device_of(e.settings.device))
    try:
        load = watch.seconds(lambda: e.network.lm)
        lm, layers = e.network.lm, e.settings.layers
        if lm.device.type == "meta":
            raise DasError("a shape alone")
    except DasError:
        load, lm = 0.0, _of_shape(e)
        layers = "all"
    s = replace(
        e.settings, lm=lm, layers=layers, train_pairs=PAIRS, val_pairs=32, test_pairs=64, only_correct=False, budget=None,
        trace=None, nulls=0, shifts=[], workers=1, memory=1.0, logger="none", device="auto", under=e.settings.under,
    )  # fmt: skip
    few, more = Layout.from_settings(s), Layout.from_settings(replace(s, train_pairs=PAIRS + MORE))
    first, second = (watch.seconds(each.material) for each in (few, more))
    drawn = len(few.hypotheses) * (PAIRS + 32 + 64)
    pair = max(1e-6, (second - first) / (MORE * len(few.hypotheses)))
    door = max(0.0, first - pair * drawn)
    return few, watch, [Probe("pairs", {"pairs": 1}, pair), Probe("loading", {"loads": 1}, load + door)]


def _of_shape(e: Layout) -> LM:
    """A network of the layout's shape with random weights and few layers."""
    import transformers

    config = copy.deepcopy(e.network.config)
    config.num_hidden_layers = min(FEW_LAYERS, config.num_hidden_layers)
    s = e.settings
    with device_of(s.device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, s.dtype))
    return LM(model, e.tokenizer, f"{FEW_LAYERS} layers of {config.model_type}")


# --- from what was measured to prices ---


def _prices(probes: Sequence[Probe]) -> dict[str, float]:
    """Unit → seconds: those that several probes share by least squares of relative errors, none below 0; the others as they
    were measured alone."""
    found = {unit: p.seconds / p.amounts[unit] for p in probes if len(p.amounts) == 1 for unit in p.amounts}
    for units in FITTED.values():
        mine = [p for p in probes if len(p.amounts) > 1 and set(p.amounts) <= set(units)]
        if mine:
            table = np.array([[p.amounts.get(unit, 0.0) for unit in units] for p in mine])
            found |= _fitted(units, table, np.array([p.seconds for p in mine]))
    return {unit: found[unit] for unit in UNITS if unit in found}


def _fitted(units: Sequence[str], table: Any, seconds: Any) -> dict[str, float]:
    """By non-negative least squares of relative errors. table: (probes, units)"""
    relative = table / seconds[:, None]
    scale = np.maximum(relative.max(0), 1e-300)
    solved, _ = nnls(relative / scale, np.ones(len(seconds)))
    return dict(zip(units, (solved / scale).tolist(), strict=True))
