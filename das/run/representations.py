"""Representations: the training of an adapter towards representations (see `das.run.lorra`), not answers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.causal.columns import Columns, as_column, same_length
from das.errors import DasError, shown
from das.find.alignment import Alignment
from das.interchange.forwards import whole_of
from das.network.adapter import adapted
from das.network.lm import LM
from das.network.parts import tokens
from das.network.site import Spot
from das.network.taps import recording
from das.run.lorra import Lorra
from das.task.asked import ask
from das.task.encoded import Encoded
from das.task.task import Task
from das.task.variant import BASE

HELD = 10**9
"""The step whose batch is held out."""


class Representations:
    """A network with a fresh adapter on the queries and values up to the last target layer, and what it is trained towards."""

    def __init__(self, task: Task, lm: LM, lorra: Lorra, base: str, seed: int) -> None:
        self.task, self.lm, self.lorra, self.seed = task, lm, lorra, seed
        if not lm.goes_on:
            raise DasError("lorra is for networks that go on from their prompt: this one is, or has, an encoder")
        self.spots: list[Spot] = [("block_output", layer) for layer in lorra.layers_of(lm.layers)]
        self._vector = _vector(lorra, lm.width)
        names = {id(module): name for name, module in lm.model.named_modules()}
        taps = [lm.tap(part, layer) for layer in range(self.spots[-1][1] + 1) for part in ("query", "value")]
        self.model: Any = adapted(lm.model, lorra.rank, base, sorted({names[id(tap.module)] for tap in taps}))
        self.batch(0)  # what cannot be asked is reported here

    def batch(self, step: int) -> tuple[dict[str, Encoded], Tensor]:
        """`base`, and where there is a contrast `plus` and `minus`: the same settings asked in each way, followed by the answer
        to the first but for its last token; and which steps of the answers there are, (rows, steps)."""
        drawn = self.task.variant(BASE).inputs.sample(np.random.default_rng([self.seed, step]), self.lorra.batch)
        asked = ask(self.task.variant(BASE), drawn, self.lm.tokenizer, alone=True)
        said = asked.answers.spelling(asked.numbers)
        prompts = {"base": tokens(asked.alone())}
        if self.lorra.plus is not None:
            prompts |= {name: self._put(getattr(self.lorra, name), name, drawn) for name in ("plus", "minus")}
        told = {name: each.forced(said[:, :-1].clip(0)) for name, each in prompts.items()}
        return told, torch.from_numpy(said >= 0)

    def _put(self, way: Any, name: str, drawn: Columns) -> Encoded:
        """Settings as they are asked in a way."""
        rest = {key: value for key, value in way.items() if key != "set"} if isinstance(way, Mapping) else way
        values = way.get("set", {}) if isinstance(way, Mapping) else {}
        if not isinstance(values, Mapping):
            raise DasError(f"lorra: set of {name} is {shown(values)}: expected a mapping from inputs to values")
        variant = self.task.variant(rest or BASE, self.lm.tokenizer)
        fixed = {key: as_column([value] * same_length(drawn), f"input {key!r}") for key, value in values.items()}
        columns = variant.run(variant.inputs.validate(drawn | fixed))
        return tokens(variant.prompt.render(columns).encode(self.lm.tokenizer))

    def distance(self, step: int) -> Tensor:
        """How far the adapted network is from its target: L2, a mean over answers' tokens and layers."""
        prompts, there = self.batch(step)
        with torch.no_grad(), self.model.disable_adapter():
            clean = {name: self._vectors(each) for name, each in prompts.items()}
        target = clean["base"]
        if "plus" in clean:
            target = target + self.lorra.alpha * (clean["plus"] - clean["minus"])
        if self._vector is not None:
            target = target + self.lorra.beta * self._vector.to(target)
        far = (self._vectors(prompts["base"]) - target).norm(dim=-1)
        mean: Tensor = far[:, there.to(far.device)].mean()
        return mean

    def _vectors(self, prompts: Encoded) -> Tensor:
        """What prompts have at the target layers where their answers' tokens are made, (layers, rows, steps, size)."""
        asking, taps, found = self.lm.asking, {spot: self.lm.tap(*spot) for spot in self.spots}, list[dict[Spot, Tensor]]()
        parts = asking.parts(prompts)
        for part in parts:
            found.append({})
            with recording(taps, len(part.rows), prompts.steps, found[-1]):
                asking.answer(part)
        whole = whole_of(parts, found, prompts.steps)
        return torch.stack([whole[spot].float() for spot in self.spots])

    def approach(self, before: bool = False) -> float:
        """The distance on prompts that are not trained on. before: without the adapter."""
        with torch.no_grad(), self.model.disable_adapter() if before else nullcontext():
            return float(self.distance(HELD))


def _vector(lorra: Lorra, width: int) -> Tensor | None:
    """The direction along which beta goes, of length 1."""
    if lorra.along is None:
        return None
    found = Alignment.load(lorra.along).feature.directions()
    if found is None or len(found) != width:
        raise DasError(f"lorra: along {lorra.along} there is no direction of {width} entries, which this network's layers have")
    return torch.nn.functional.normalize(found[:, 0], dim=0)
