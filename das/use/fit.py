"""Fit: an alignment from pairs at one site, without a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from das.errors import DasError, shown
from das.find.alignment import Alignment, Cell
from das.find.kinds import Kind, Nested
from das.find.schedule import Schedule
from das.find.search import Search, align
from das.judge.evaluate import evaluate
from das.network.lm import LM
from das.network.site import Site
from das.progress import Reporter, silent
from das.run.layout import Layout
from das.run.material import Material
from das.task.own import own_task
from das.task.task import Task


def fit(
    lm: str | Path | LM, site: Site | tuple[Any, ...], pairs: Any, subspace: Any = None, *, hypothesis: str | None = None,
    places: dict[str, Any] | None = None, seed: int = 0, report: Reporter = silent, **settings: Any,
) -> Alignment:  # fmt: skip
    """Trains one alignment on pairs and scores it on pairs that it has not seen.

    lm: a network's name, folder or `das.LM`. site: a `Site`, or (layer, position) such as (3, "last").
    pairs: rows with `base`, `source` and `label`, in whatever form `das.own_task` takes them; or a task. hypothesis: which of
        the task's; by default its first.
    subspace: a kind, as in `Settings`; by default `nested`, whose rank validation pairs choose.
    places: positions that the pairs do not name themselves (see `das.own_task`). seed: of the cut into splits and the training.
    settings: any of `Settings`, such as `steps=100` or `only_correct=True`.

    Returns the alignment; its `scores[split]` (`train`, `val`, `test`) have `iia` beside `noop` (nothing swapped), `whole` (the
    whole vector) and `random` (a random subspace of its rank).

    >>> alignment = das.fit("price-tagger-tiny", (2, "last"), "pairs.csv")  # doctest: +SKIP
    """
    site = _site(site)
    task = pairs if isinstance(pairs, Task) else own_task(pairs, places=places, positions=[site.position])
    name = task.short_names([hypothesis] if hypothesis else None)[0]
    where = {"layers": [site.layer], "positions": [site.position], "components": [site.component], "hypotheses": [name]}
    layout = Layout(task, lm, **where, **{"subspace": subspace or Nested(1), "seed": seed, **settings})
    layout.ready()
    material = layout.material()
    kind = layout.settings.kind if subspace else _as_wide_as_can_be(material, name, site)
    return _found(Cell(name, site, kind, seed), material, layout.schedule, report)


def _found(cell: Cell, material: Material, schedule: Schedule, report: Reporter) -> Alignment:
    """The alignment of a cell, with its scores."""
    with TemporaryDirectory() as folder:
        search = Search(material.engine, material.data, schedule, Path(folder), "fit", report=report)
        record = evaluate(align([cell], search), material.engine, material.data)[0]
    curves = {"val": record.alignment.curve} if record.alignment.curve else {}
    return replace(record.alignment, about=record.alignment.about | {"metrics": record.metrics, "curves": curves})


def _site(given: Site | tuple[Any, ...]) -> Site:
    if isinstance(given, tuple) and 2 <= len(given) <= 3:
        given = Site(*given)
    if not isinstance(given, Site):
        raise DasError(f"site is {shown(given)}: expected a das.Site, or a layer and a position, such as (3, 'last')")
    return given


def _as_wide_as_can_be(material: Material, name: str, site: Site) -> Kind:
    """The usual kind, narrower where the site is."""
    data = material.data["train"]
    return Nested(max(1, min(Nested().k, data.size(material.lm, site) // len(data.pairs[name].sources))))
