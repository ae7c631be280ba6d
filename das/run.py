"""Run: the folder that holds everything a run found; it is the run's only state."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load_file, save_file

from das.alignment import Alignment, Cell
from das.columns import codes
from das.errors import DasError, unknown
from das.evaluate import Record, bootstrap
from das.kinds import kind_name, plain_kind
from das.settings import Settings, read_yaml
from das.site import Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FREE = ("workers", "threads", "logger", "device", "memory")
"""Settings that may change when a run is resumed: they do not change its table."""

SCREEN = "screen.parquet"

BESIDE = ("noop", "whole", "random", "majority", "lm_base", "lm_source", "ceiling")
"""The baselines that stand beside every IIA."""


def write(path: Path, writer: Callable[[Path], Any]) -> None:
    """Writes a file under a temporary name and renames it, so that it is there whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    writer(partial)
    partial.replace(path)


class Run:
    """A run folder: `config.yaml`, `pairs.parquet`, `audit.json`, `cells/<id>/`, `results.parquet`, `examples.parquet`,
    `summary.json`, figures, and with a budget `screen.parquet`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """A finished run; DasError if there is none."""
        run = cls(folder)
        if not (run.folder / "summary.json").is_file():
            state = "has not finished: run it again to go on" if (run.folder / "config.yaml").is_file() else "is no run folder"
            raise DasError(f"{run.folder} {state}")
        return run

    def prepare(self, settings: Settings) -> None:
        """Makes the folder, or checks that it belongs to the same settings."""
        path, mine = self.folder / "config.yaml", settings.plain()
        if path.exists():
            theirs = read_yaml(path)
            changed = [k for k in mine if k not in FREE and theirs.get(k) != mine[k]]
            if changed:
                k = changed[0]
                raise DasError(f"{self.folder} holds a run with {k} = {theirs.get(k)!r}, not {mine[k]!r}: give another folder")
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise DasError(f"{self.folder} exists and holds something other than a run: give another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        write(path, lambda p: p.write_text(yaml.safe_dump(mine, sort_keys=False)))
        for partial in (self.folder / "cells").glob(".partial-*"):
            shutil.rmtree(partial)

    # --- cells ---

    def _cell(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.id

    def has(self, cell: Cell) -> bool:
        """Whether the cell is finished."""
        return (self._cell(cell) / "card.json").exists()

    def save(self, record: Record) -> None:
        """Writes a finished cell."""
        folder = self._cell(record.alignment.cell)
        if folder.exists():
            return
        folder.parent.mkdir(exist_ok=True)

        def fill(partial: Path) -> None:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            record.alignment.save(partial, {"metrics": record.metrics, "curves": record.curves})
            save_file({"test": record.hits.astype(np.uint8)}, partial / "hits.safetensors")

        write(folder, fill)

    def card(self, cell: Cell) -> dict[str, Any]:
        """What a finished cell says of itself: rank, steps, metrics per split, rank curves."""
        card: dict[str, Any] = json.loads((self._cell(cell) / "card.json").read_text())
        return card

    def alignment(self, cell_id: str) -> Alignment:
        """A trained cell by its id (a column of `table()`)."""
        return Alignment.load(self.folder / "cells" / cell_id)

    def choose(self, grid: Sequence[Cell]) -> dict[str, Site]:
        """For each hypothesis the site with the best validation IIA, mean over seeds; the first of equals."""
        scores: dict[str, dict[Site, list[float]]] = {}
        for cell in grid:
            sites = scores.setdefault(cell.hypothesis, {})
            sites.setdefault(cell.site, []).append(self.card(cell)["metrics"]["val"]["iia"])
        return {name: max(sites, key=lambda site: float(np.mean(sites[site]))) for name, sites in scores.items()}

    # --- tables ---

    def screened(self) -> pd.DataFrame | None:
        """`screen.parquet`: a row per hypothesis and site of the grid, with what the screen found there, its rank, and whether
        and why it was trained or skipped (see `das.screen` and `das.budget`); None where the run had no budget."""
        path = self.folder / SCREEN
        return pd.read_parquet(path) if path.exists() else None

    def write(self, cells: Sequence[Cell], chosen: Mapping[str, Site], labels: Mapping[str, Any], seconds: float) -> None:
        """The tables, the summary and the figures, from the cells' folders."""
        cells = sorted(cells, key=lambda c: (c.hypothesis, c.site.layer, *astuple(c.site)[1:], kind_name(c.kind), c.seed))
        cards = {cell: self.card(cell) for cell in cells}
        results = pd.DataFrame([row for cell in cells for row in _rows(cell, cards[cell])])
        write(self.folder / "results.parquet", lambda p: results.to_parquet(p))
        hits = {cell: load_file(self._cell(cell) / "hits.safetensors")["test"] for cell in cells}
        examples = pd.concat(
            [pd.DataFrame({"cell": c.id, "pair": np.arange(len(h)), "hit": h.astype(bool)}) for c, h in hits.items()]
        )
        examples["cell"] = examples["cell"].astype("category")
        write(self.folder / "examples.parquet", lambda p: examples.to_parquet(p, index=False))
        summary = self._summary(cards, hits, chosen, labels, seconds)
        write(self.folder / "summary.json", lambda p: p.write_text(json.dumps(summary, indent=1) + "\n"))
        self.figures()

    def _summary(
        self, cards: Mapping[Cell, dict[str, Any]], hits: Mapping[Cell, Any], chosen: Mapping[str, Site],
        labels: Mapping[str, Any], seconds: float,
    ) -> dict[str, Any]:  # fmt: skip
        config = read_yaml(self.folder / "config.yaml")
        body: dict[str, Any] = {
            "task": config["task"],
            "lm": config["lm"],
            "versions": {p: version(p) for p in ("torch", "transformers", "pytorch-lightning", "numpy")},
            "wall_seconds": round(seconds, 1),
            "cells": len(cards),
            "tokens": labels["tokens"],
            "hypotheses": {},
        }
        for name, site in chosen.items():
            base = self._test_bases(name)
            kinds: dict[Any, list[Cell]] = {}
            for cell in cards:
                if cell.hypothesis == name and cell.site == site:
                    kinds.setdefault(cell.kind, []).append(cell)
            entries = {kind_name(kind): _entry(members, cards, hits, base) for kind, members in kinds.items()}
            main = kind_name(next(k for k in kinds if plain_kind(k) == config["subspace"]))
            beside = {kind: entry for kind, entry in entries.items() if kind != main}
            place = {"hypothesis": labels["names"][name], **asdict(site), "subspace": main, "grid": labels["grid"][name]}
            body["hypotheses"][name] = place | entries[main] | {"beside": beside}
        accuracies = [entry["baselines"]["lm_base"] for entry in body["hypotheses"].values()]
        body["task_accuracy"] = float(np.mean(accuracies))
        return body

    def _test_bases(self, hypothesis: str) -> Any:
        mine = [("split", "==", "test"), ("hypothesis", "==", hypothesis)]
        pairs = pd.read_parquet(self.folder / "pairs.parquet", filters=mine)
        return codes(*(pairs[c].to_numpy() for c in pairs.columns if c.startswith("base.")))

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`."""
        body: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return body

    def results(self) -> pd.DataFrame:
        """`results.parquet`: a row per cell, split and metric."""
        return pd.read_parquet(self.folder / "results.parquet")

    def table(self) -> pd.DataFrame:
        """One row per cell, a column per split and metric (`test_iia`, `val_flip_iia`, …), rank curves left out."""
        results = self.results()
        results = results[results["width"] == 0]
        keys = ["cell", "hypothesis", "layer", "component", "position", "subspace", "seed"]
        results = results.assign(column=results["split"] + "_" + results["metric"])
        wide = results.pivot(index=keys, columns="column", values="value").reset_index().rename_axis(columns=None)
        return wide.rename(columns={"test_rank": "rank"}).drop(columns="val_rank")

    # --- pictures ---

    def heatmap(self, hypothesis: str, ax: Axes | None = None, metric: str = "iia") -> Axes:
        """IIA on test pairs over layers × positions; `hypothesis` with or without its variables."""
        from das import plot

        name = hypothesis.split(".")[0]
        if name not in self.summary["hypotheses"]:
            raise unknown("hypothesis", hypothesis, self.summary["hypotheses"])
        return plot.heatmap(self, name, ax, metric)

    def figures(self) -> list[Path]:
        """Draws every figure anew from the tables; their paths."""
        from das import plot

        return plot.figures(self)


def _rows(cell: Cell, card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A cell's rows of the results table; a rank curve's points have their width, everything else has width 0."""
    head = {
        "cell": cell.id, "hypothesis": cell.hypothesis, **asdict(cell.site),
        "subspace": kind_name(cell.kind), "seed": cell.seed,
    }  # fmt: skip
    rows = []
    for split, metrics in card["metrics"].items():
        rows += [head | {"split": split, "metric": m, "width": 0, "value": v} for m, v in metrics.items()]
    for split, curve in card["curves"].items():
        rows += [head | {"split": split, "metric": "iia", "width": int(w), "value": v} for w, v in curve.items()]
    return rows


def _entry(cells: Sequence[Cell], cards: Mapping[Cell, Any], hits: Mapping[Cell, Any], base: Any) -> dict[str, Any]:
    """The summary of one kind of subspace at the chosen site: mean ± sd over seeds, interval over base prompts."""

    def over(split: str, metric: str) -> list[float]:
        return [float(cards[c]["metrics"][split].get(metric, float("nan"))) for c in cells]

    low, high = bootstrap(np.mean([hits[c] for c in cells], axis=0), base, np.random.default_rng(0))
    ranks = [cards[c]["rank"] for c in cells]
    return {
        "val_iia": float(np.mean(over("val", "iia"))),
        "test_iia": float(np.mean(over("test", "iia"))),
        "test_iia_sd": float(np.std(over("test", "iia"), ddof=1)) if len(cells) > 1 else None,
        "test_ci": [low, high],
        "test_flip_iia": float(np.mean(over("test", "flip_iia"))),
        "test_iia_soft": float(np.mean(over("test", "iia_soft"))),
        "normalised": float(np.mean(over("test", "normalised"))),
        "rank": float(np.median(ranks)),
        "baselines": {name: float(np.mean(over("test", name))) for name in BESIDE},
        "flip_baselines": {name: float(np.mean(over("test", f"flip_{name}"))) for name in ("whole", "random")},
        "seeds": [
            {
                "seed": c.seed, "rank": cards[c]["rank"], "steps": cards[c]["steps"],
                **{f"{s}_{m}": cards[c]["metrics"][s].get(m) for s in ("val", "test") for m in ("iia", "flip_iia")},
            }
            for c in cells
        ],
    }  # fmt: skip
