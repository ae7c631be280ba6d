"""Causal tracing: of a corrupted run, which single states bring the clean answer back? (Meng et al. 2022, arXiv 2202.05262)

A run is corrupted in one of two ways. By another prompt: the pair's base, whose answer is another; then what a state brings
back is an interchange, and a cell's share of right answers is the IIA of its whole vector. Or by noise on a field's embeddings
(`das.circuits.noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from torch import Tensor

from das.errors import DasError
from das.interchange.engine import Engine
from das.interchange.feature import Whole
from das.interchange.measures import MEASURES, Measure
from das.interchange.reply import Reply
from das.interchange.score import IIA, Wanted, measured, predictions
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled
from das.stats import Bootstrap

KINDS = {"state": "block_output", "mlp": "mlp_output", "attention": "attention_output"}
"""What is restored: a layer's whole state, or what MLPs or attentions of a window of layers add."""


def _clean(reply: Reply) -> Tensor:
    """The probability of the clean answer in the clean run."""
    assert reply.clean is not None
    return replace(reply, logits=reply.clean[None], clean=None).log_probability().exp()


PROBABILITY = {"restored": MEASURES["probability"], "clean": Measure(_clean, "clean probability", matched=True)}


@dataclass(frozen=True)
class Cell:
    """What is restored at once: of a kind, around a layer, at a position."""

    kind: str
    layer: int
    position: str
    site: Site


def cells(kinds: Sequence[str], layers: Sequence[int], positions: Sequence[str], window: int, depth: int) -> list[Cell]:
    """Every kind around every layer at every position. window: how many layers' MLPs or attentions are restored together."""

    def site(kind: str, layer: int, position: str) -> Site:
        wide = 1 if kind == "state" else window
        first, end = max(0, layer - wide // 2), min(depth, layer + (wide + 1) // 2)
        return Site("+".join(map(str, range(first, end))), position, KINDS[kind])

    return [Cell(k, layer, p, site(k, layer, p)) for k in kinds for layer in layers for p in positions]


# --- the pairs of a corrupted and a clean run ---


def by_source(engine: Engine, data: Dataset, name: str) -> Dataset:
    """The pairs of a hypothesis whose swap should lead to the source's own answer, another than the base's, and of which the
    network answers both: the base is the corrupted run, and the source the clean one."""
    p = data.pairs[name]
    if not p.answered:
        raise DasError("tracing goes by how prompts are answered: the pairs need the columns base_label and source_label")
    said = predictions(engine, data.prompts, data.answers)
    fit = (p.label != p.base_label) & (p.label == p.source_label)
    solved = data.right(said, name, "base") & data.right(said, name, "source")
    return _some(data, name, fit & solved, f"{int(fit.sum())} of {len(p)} pairs should take the source's answer")


def by_noise(engine: Engine, data: Dataset, name: str) -> Dataset:
    """A hypothesis' distinct bases that the network answers, each beside itself: the base is to be run with noise, the source
    without."""
    p, n = data.pairs[name], len(data.prompts)
    solved = data.right(predictions(engine, data.prompts, data.answers), name, "base")
    first = np.unique(p.base, return_index=True)[1]
    some, label = p.base[first], p.base_label[first]
    begun = {role: p.begun["base"][first] + moved for role, moved in (("label", 0), ("match", n)) if p.begun}
    beside = Labelled(some, (some + n)[None], label, label, label, begun=begun, match=some + n)
    twice = replace(data, prompts=data.prompts.take(np.tile(np.arange(n), 2)), pairs={name: beside})
    return _some(twice, name, solved[first], f"{len(first)} prompts are there")


def _some(data: Dataset, name: str, chosen: np.ndarray, there: str) -> Dataset:
    if chosen.sum() < 2:
        raise DasError(f"{there}, and the network answers {int(chosen.sum())} as it should: too few to trace anything")
    return replace(data, pairs={name: data.pairs[name].take(np.flatnonzero(chosen))})


# --- what is restored ---


@dataclass(frozen=True)
class Traced:
    """table: a row for each cell: `iia`, the share of runs that give the clean answer (`iia_low`, `iia_high`: its 95 %
    interval); `effect`, how far the clean answer's probability rises (`effect_low`, `effect_high`); `recovered`, that as a
    share of what the corruption took. clean, corrupted: the mean probability in the two runs. pairs: how many."""

    table: pd.DataFrame
    clean: float
    corrupted: float
    pairs: int


def traced(
    engine: Engine, data: Dataset, name: str, wanted: Sequence[Cell], progress: Callable[[float], None] | None = None
) -> Traced:
    """Restores each cell alone in every corrupted run. engine: whose bases are the corrupted runs."""
    pairs, nothing = data.pairs[name], object()
    whole = Whole(len(pairs.sources))
    all_: Wanted[object] = {cell: (name, cell.site, [whole]) for cell in wanted}
    all_ = {nothing: (name, wanted[0].site, [whole.complement]), **all_}
    found = measured(engine, data, all_, PROBABILITY, progress=progress)
    before = found.pop(nothing)
    shared = Bootstrap(np.stack([data.identities[rows] for rows in (pairs.base, *pairs.sources)]))
    corrupted, clean = float(before["restored"].mean()), float(before["clean"].mean())
    rows = [_row(cell, found[cell], before, shared, clean - corrupted) for cell in wanted]
    return Traced(pd.DataFrame(rows), clean, corrupted, len(pairs))


def _row(
    cell: Cell, found: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray], shared: Bootstrap, lost: float
) -> dict[str, object]:
    apart, (low, high) = shared.difference(found["restored"], before["restored"]), shared.interval(found[IIA])
    return {
        "kind": cell.kind, "layer": cell.layer, "position": cell.position, "iia": float(found[IIA].mean()), "iia_low": low,
        "iia_high": high, "effect": apart.mean, "effect_low": max(-1.0, apart.low), "effect_high": min(1.0, apart.high),
        "recovered": apart.mean / lost if abs(lost) > 1e-9 else float("nan"),
    }  # fmt: skip


def best(table: pd.DataFrame, count: int, kind: str = "state") -> Iterator[tuple[int, str]]:
    """The layers and positions of a kind's cells of the largest effect, the largest first."""
    mine = table[table["kind"] == kind].sort_values("effect", ascending=False, kind="stable").head(count)
    yield from zip(mine["layer"].tolist(), mine["position"].tolist(), strict=True)
