"""Causal trace: where a network keeps what an answer goes by, before anything is trained (see `das.circuits.tracing`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from das.circuits.noise import Noised, ends
from das.circuits.tracing import KINDS, best, by_noise, by_source, cells, traced
from das.errors import unknown
from das.ground.checks import number, whole
from das.interchange.engine import Engine
from das.network.site import single_layers
from das.pairs.dataset import Dataset
from das.progress import Reporter, silent
from das.run.experiment import Experiment
from das.run.material import Material
from das.run.provenance import provenance
from das.text import aligned
from das.use.finding import Finding
from das.use.one_hypothesis import one_hypothesis, resumed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE, NOISE = "source", "noise"
CORRUPTIONS = SOURCE, NOISE
SPLIT = "train"
"""The pairs that are looked at: where a run is told where to look, none that it reports on."""
SHOWN = 5
"""Cells of each kind that the text names."""
HEAD = ("restored", "layer", "position", "recovered", "probability regained (95 %)", "IIA (95 %)")


@dataclass(frozen=True)
class CausalTrace(Finding):
    """table: see `das.circuits.tracing.Traced`. tokens: position → the token there in an example prompt. about: hypothesis, lm,
    corrupted_by, window (layers whose MLPs or attentions are restored together), pairs, clean and corrupted (the mean
    probability of the clean answer in either run); and, for a run whose budget goes by the trace (`das.run.by_trace`), task,
    corrupt and made_from, the prints of task and network."""

    stem: ClassVar[str] = "trace"

    table: pd.DataFrame
    tokens: dict[str, str]
    about: dict[str, Any]

    def best(self, count: int, kind: str = "state") -> list[tuple[int, str]]:
        """Layers and positions that bring back most, the most first: sites to look at by a grid."""
        return list(best(self.table, count, kind))

    def text(self) -> str:
        """The cells that bring back most."""
        a = self.about
        head = (
            f"{a['hypothesis']} in {a['lm']}, corrupted by {a['corrupted_by']}: over {a['pairs']} runs the clean answer's "
            f"probability is {a['clean']:.3f} clean, {a['corrupted']:.3f} corrupted"
        )
        rows: list[tuple[str, ...]] = [HEAD]
        for _, mine in self.table.groupby("kind", sort=False):
            rows += [_told(row) for row in mine.sort_values("effect", ascending=False).head(SHOWN).to_dict("records")]
        return f"{head}\n\n{aligned(rows)}"

    def figure(self) -> Figure:
        """Maps over layers and positions, one for each kind of what is restored."""
        from das.draw.causal_trace import causal_trace_figure

        return causal_trace_figure(self.table, self.tokens, self.about)

    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        return self.about | {"tokens": self.tokens, "cells": self.table.to_dict("records")}


def _told(row: dict[Any, Any]) -> tuple[str, ...]:
    def between(name: str) -> str:
        return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"

    return row["kind"], str(row["layer"]), row["position"], f"{row['recovered']:.2f}", between("effect"), between("iia")


def causal_trace(
    task: Any, lm: Any, hypothesis: str | None = None, *, corrupt: str = SOURCE, field: str | None = None, sigmas: float = 3.0,
    kinds: Sequence[str] = tuple(KINDS), window: int | None = None, pairs: int = 256, report: Reporter = silent,
    **settings: Any,
) -> CausalTrace:  # fmt: skip
    """Which states of a network bring the clean answer back into a corrupted run (Meng et al. 2022, arXiv 2202.05262).

    hypothesis: by default the task's first. corrupt: `source`, a run of the pair's base whose answer is the source's when the
    variable is swapped, so that every cell is an interchange; or `noise`, normal noise of so many `sigmas` on the embeddings of
    a `field` of the prompt. kinds: `state` (a layer's output), `mlp` and `attention` (what those of a window of layers add).
    window: by default a fifth of the layers. pairs: how many are drawn; those of which the network answers both prompts
    are used. settings: others of `das.Settings`, such as layers, positions, families, under, seed, device. DasError for
    noise where the network cannot be resumed, and where fewer than two pairs are left.
    """
    if corrupt not in CORRUPTIONS:
        raise unknown("corruption", corrupt, CORRUPTIONS)
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of what is restored", kind, KINDS)
    runs = Corrupted(corrupt, field, number("sigmas", sigmas, 0, 100, above=True))
    components = list(dict.fromkeys(["block_output", *(KINDS[kind] for kind in kinds)]))
    asked = one_hypothesis(task, lm, hypothesis, pairs, (SPLIT,), components=components, **settings)
    name, depth = asked.hypotheses[0], asked.network.layers
    wide = max(1, round(depth / 5)) if window is None else whole("window", window, 1, depth)
    wanted = cells(kinds, single_layers(asked.layers), asked.positions, wide, depth)
    engine, data = runs.made(asked, name)
    with report.task("trace", 1.0) as step:
        found = traced(engine, data, name, wanted, lambda done: step(done, f"{len(wanted)} cells"))
    about = {"hypothesis": asked.names[name], "lm": engine.lm.name, "corrupted_by": str(runs), "window": wide}
    about |= {
        "task": asked.task.name,
        "corrupt": corrupt,
        "made_from": provenance(asked.task, asked.tokenizer, asked.network.printed, ()),
    }
    about |= {"pairs": found.pairs, "clean": found.clean, "corrupted": found.corrupted}
    return CausalTrace(found.table, asked.task.tokens_at(asked.tokenizer, asked.positions), about)


@dataclass(frozen=True)
class Corrupted:
    """How runs are corrupted. by: `source` or `noise`; field, sigmas: of the noise."""

    by: str
    field: str | None
    sigmas: float

    def __str__(self) -> str:
        return "the pair's base" if self.by == SOURCE else f"noise of {self.sigmas:g} σ on {self.field}"

    def made(self, asked: Experiment, name: str) -> tuple[Engine, Dataset]:
        """The engine of the corrupted runs, and these with what is to be put back. DasError where noise cannot be put."""
        if self.by == SOURCE:
            material = asked.material()
            return material.engine, by_source(material.engine, material.data[SPLIT], name)
        fields = asked.task.prompt.fields
        if self.field not in fields:
            raise unknown("field for noise", str(self.field), fields)
        positions = list(dict.fromkeys([*asked.positions, *ends(self.field)]))
        material = Material.make(asked.settings, asked.network, asked.task, asked.hypotheses, positions)
        engine = resumed(material.engine, "noise", "; corrupt by the pair's source")
        data = by_noise(engine, material.data[SPLIT], name)
        return Noised(engine, self.field, data.prompts, self.sigmas, asked.settings.seed), data
