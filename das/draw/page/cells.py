"""Cells: every cell of a run that is there, with all that was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load as tensors_of

from das.draw.heatmaps import METRICS
from das.draw.page.packed import Blobs
from das.errors import DasError
from das.find.alignment import Cell
from das.find.sites import row_order
from das.ground.storage import load, read_json, read_table, written
from das.run.folder import Folder
from das.run.summary import BESIDE, cell_rows
from das.run.words import REPLIES
from das.task.variant import BASE
from das.transfer.scored import KEPT, ShiftFolder

SITE = ["hypothesis", "layer", "component", "position", "subspace", "seed"]
"""The columns of the results table that say which cell it is, beside its id."""


def results_of(run: Folder) -> pd.DataFrame:
    """The run's table of results; of a run that has none yet, that of the cells which are finished."""
    try:
        return run.results()
    except DasError:
        if written(run.folder / "results.parquet"):
            raise
    rows: list[dict[str, Any]] = []
    for path in sorted((run.folder / "cells").glob("[!.]*/card.json")):
        card = read_json(path)
        cell = Cell.of_plain(card["cell"])
        rows += cell_rows(cell, card, run.scorecard(cell) or {})
    return pd.DataFrame(rows, columns=None if rows else ["cell", *SITE, "split", "metric", "width", "value"])


def cells(run: Folder, results: pd.DataFrame, positions: Sequence[str], blobs: Blobs) -> dict[str, Any]:
    """Of all cells, in the order of `ids`: the columns of their sites, `values` (cells, columns) with what each column is,
    rank curves, and hits and replies on the test pairs. positions: in the order of the prompt."""
    heads = results.drop_duplicates("cell").set_index("cell")[SITE]
    values = _measured(run, results).reindex(heads.index)
    orders = {"position": positions, "layer": sorted(heads["layer"].unique(), key=lambda layer: row_order((layer, "")))}
    return {
        "ids": heads.index.tolist(),
        "sites": {name: blobs.coded(heads[name].tolist(), orders.get(name, ())) for name in SITE},
        "columns": [dict(zip(("split", "metric"), name, strict=True)) for name in values.columns],
        "values": blobs.numbers(values.to_numpy(np.float32)),
        "measures": [{"name": name, "label": METRICS.get(name, name.replace("_", " "))} for name in measures(values)],
        "curves": _curves(results, heads.index, blobs),
        "hits": _hits(run.folder, heads.index.tolist(), blobs),
        "replies": _replies(run.folder, heads.index.tolist(), blobs),
    }


def _measured(run: Folder, results: pd.DataFrame) -> pd.DataFrame:
    """A row per cell, a column per (split, metric); a shift that the run was tested under is a split."""
    own = results[results["width"] == 0].pivot(index="cell", columns=["split", "metric"], values="value")
    parts = [own]
    for folder in ShiftFolder.all(run.folder):
        table = folder.scored(BASE).table.set_index("cell")[list(KEPT)]
        parts.append(table.set_axis(pd.MultiIndex.from_product([[f"under {folder.name}"], KEPT]), axis=1))
    return pd.concat(parts, axis=1)


def measures(values: pd.DataFrame) -> list[str]:
    """The metrics that tell cells apart and are no reference to hold others against, those that are known first."""
    found = values.columns.get_level_values(1).unique()
    beside = {*BESIDE, "iia_low", "iia_high", "raced"}
    rest = [name for name in found if name not in METRICS and name.removeprefix("flip_") not in beside]
    return [name for name in METRICS if name in found] + rest


def _curves(results: pd.DataFrame, ids: pd.Index[Any], blobs: Blobs) -> dict[str, Any]:
    """IIA by width: parallel columns."""
    rows = results[results["width"] > 0]
    return {
        "cell": blobs.numbers(ids.get_indexer(pd.Index(rows["cell"])).astype(np.int64)),
        "split": blobs.coded(rows["split"].tolist()),
        "width": blobs.numbers(rows["width"].to_numpy(np.int64)),
        "value": blobs.numbers(rows["value"].to_numpy(np.float32)),
    }


def _hits(folder: Path, ids: Sequence[str], blobs: Blobs) -> dict[str, Any]:
    """Of each cell how many test pairs it was tried on (0: not kept), and which of them it got right."""
    rows = [_hits_of(folder / "cells" / cell / "hits.safetensors") for cell in ids]
    return {"pairs": [len(row) for row in rows], "bits": blobs.bits(rows)}


def _hits_of(path: Path) -> NDArray[np.bool_]:
    return load(path, tensors_of)["test"].astype(bool) if written(path) else np.zeros(0, bool)


def _replies(folder: Path, ids: Sequence[str], blobs: Blobs) -> dict[str, Any]:
    """Cell → what was answered to the test pairs under its swap; of those that keep it."""
    paths = {cell: folder / "cells" / cell / REPLIES for cell in ids}
    return {cell: blobs.coded(read_table(path)["reply"].tolist()) for cell, path in paths.items() if written(path)}
