"""Summary: what a run comes to. Tables and `summary.json`, from the cells' folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from importlib.metadata import version
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from das.causal.columns import differ
from das.find.alignment import Cell
from das.find.directions import Direction
from das.find.kinds import kind_name, parse_kind
from das.find.sites import as_kept, row_order
from das.ground.storage import read_json, read_table, write, write_json
from das.interchange.score import Hits
from das.judge.decoding import gain
from das.judge.evaluate import Baselines
from das.judge.verdict import UNLEARNED, Added, Facts, judge
from das.network.site import Site, place_text
from das.run.folder import Folder
from das.run.settings import read_yaml
from das.stats import Bootstrap, Difference, Null

BESIDE = ("noop", "whole", "random", "majority", "lm_base", "lm_source", "ceiling")
"""The baselines that stand beside every IIA."""

RECONSTRUCTED = "right_reconstructed"

OWN = "its own causal model"
"""What a rival is called that is another variable of the claim's own model."""


class Summary:
    """Of the finished cells of a run.

    chosen: hypothesis → the site that was chosen for it. labels: hypotheses' full names, tokens of an example prompt, counts of
    the grid. dead: the cells of the grid that were not trained since nothing is to be found there (see `das.find.dead`).
    """

    def __init__(
        self, run: Folder, cells: Sequence[Cell], chosen: Mapping[str, Site], labels: Mapping[str, Any],
        dead: Sequence[Cell] = (),
    ) -> None:  # fmt: skip
        self.run, self.chosen, self.labels = run, chosen, labels
        self.cells, self.dead = sorted(cells, key=_order), sorted(dead, key=_order)
        self.cards = {cell: run.card(cell) for cell in self.cells}
        self.hits = {cell: run.hits(cell) for cell in self.cells}
        self.config = read_yaml(run.folder / "config.yaml")
        self.kind = parse_kind(self.config["subspace"])
        self.nulls = run.nulls()
        self.bootstraps = {name: Bootstrap(run.test_prompts(name)) for name in chosen}

    def write(self) -> None:
        """The tables and the summary into the run's folder."""
        folder = self.run.folder
        results, body = self.results(), self.body() | {"wall_seconds": self.run.seconds}
        write(folder / "results.parquet", lambda p: as_kept(results).to_parquet(p))
        write(folder / "examples.parquet", lambda p: self.examples().to_parquet(p, index=False))
        write_json(folder / "summary.json", body)

    # --- tables ---

    def results(self) -> pd.DataFrame:
        """A row per cell, split and metric. Intervals are over prompts, and over seeds at a site that has several."""
        rows = [row for cell in self.cells for row in cell_rows(cell, self.cards[cell], self.run.scorecard(cell) or {})]
        for mine in self._together.values():
            ends = self.bootstraps[mine[0].hypothesis].interval(self._hits_of(mine))
            named = list(zip(("iia_low", "iia_high"), ends, strict=True))
            rows += [_head(cell) | {"split": "test", "metric": m, "width": 0, "value": v} for cell in mine for m, v in named]
        beside = {cell.hypothesis: card["metrics"] for cell, card in self.cards.items()}
        rows += [row for cell in self.dead for row in cell_rows(cell, _unswapped(beside[cell.hypothesis]), {})]
        return pd.DataFrame(rows)

    @cached_property
    def _together(self) -> dict[tuple[Any, ...], list[Cell]]:
        """The cells that differ in their seed alone."""
        table: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in self.cells:
            table.setdefault((cell.hypothesis, cell.site, cell.kind), []).append(cell)
        return table

    def _hits_of(self, cells: Sequence[Cell]) -> Hits:
        """(seeds, pairs)"""
        return np.stack([self.hits[cell] for cell in cells])

    def examples(self) -> pd.DataFrame:
        """A row per cell and test pair."""
        frame = pd.concat([pd.DataFrame({"cell": c.id, "pair": np.arange(len(h)), "hit": h}) for c, h in self.hits.items()])
        return frame.assign(cell=frame["cell"].astype("category"))

    # --- summary ---

    def body(self) -> dict[str, Any]:
        """`summary.json`."""
        entries = {name: self._hypothesis(name) for name in self.chosen}
        return {
            "task": self.config["task"],
            "lm": self.config["lm"],
            "versions": {p: version(p) for p in ("torch", "transformers", "pytorch-lightning", "numpy")},
            "cells": len(self.cells),
            "tokens": self.labels["tokens"],
            "layers": self.labels["layers"],
            "hypotheses": entries,
            "comparisons": [*self._between_kinds(), *self._between_sites(), *self._between_hypotheses()],
            "task_accuracy": _number([entry["baselines"]["lm_base"] for entry in entries.values()]),
        }

    def _hypothesis(self, name: str) -> dict[str, Any]:
        site, kinds = self.chosen[name], self._kinds(name)
        entries = {kind: self._entry(members) for kind, members in kinds.items()}
        main = kind_name(self._main(name)[0].kind)
        beside = {kind: entry for kind, entry in entries.items() if kind != main}
        place = {"hypothesis": self.labels["names"][name], **asdict(site), "subspace": main, "grid": self.labels["grid"][name]}
        found = {"nulls": self._nulls(name, entries[main]), "failures": self.run.failures(name)["groups"]}
        facts = self._facts(name, entries[main], found, self._added(name))
        judged = {kind: entry | {"verdict": self._verdict_beside(name, entry)} for kind, entry in beside.items()}
        return place | entries[main] | found | {"verdict": asdict(judge(facts))} | {"beside": judged}

    def _verdict_beside(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What may be said of a kind that stands beside the run's own, by the same rule and the nulls of the grid."""
        found = {"nulls": self._nulls(name, entry), "failures": []}
        return asdict(judge(self._facts(name, entry, found)))

    def _kinds(self, name: str) -> dict[str, list[Cell]]:
        """The cells at a hypothesis' chosen site, by their kind's name; those of the run's main kind first."""
        mine = [cells for key, cells in self._together.items() if key[:2] == (name, self.chosen[name])]
        mine.sort(key=lambda cells: cells[0].kind != self.kind)
        return {kind_name(cells[0].kind): cells for cells in mine}

    def _entry(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """One kind of subspace at the chosen site: mean ± sd over seeds, interval over prompts and seeds."""

        def over(split: str, metric: str) -> list[float]:
            return [float(self.cards[c]["metrics"][split].get(metric, float("nan"))) for c in cells]

        iia, scorecards = over("test", "iia"), [card for c in cells if (card := self.run.scorecard(c))]
        simple = ("flip_iia", "iia_soft", "iia_correct", "iia_incorrect", "off_manifold", "distance")
        return {
            "val_iia": float(np.mean(over("val", "iia"))),
            "test_iia": float(np.mean(iia)),
            "test_iia_sd": float(np.std(iia, ddof=1)) if len(cells) > 1 else None,
            "test_ci": list(self.bootstraps[cells[0].hypothesis].interval(self._hits_of(cells))),
            **{f"test_{metric}": _number(over("test", metric)) for metric in simple},
            "normalised": _number(over("test", "normalised")),
            "rank": float(np.median([self.cards[c]["rank"] for c in cells])),
            "baselines": {name: _number(over("test", name)) for name in BESIDE},
            "flip_baselines": {name: _number(over("test", f"flip_{name}")) for name in ("whole", "random")},
            "scorecard": _mean(scorecards) if scorecards else None,
            "seeds": [_seed(c, self.cards[c]) for c in cells],
            **{name: _number([self.cards[c].get(name) for c in cells]) for name in ("late", "checks", "broken")},
            "dictionary": _dictionary([self.cards[c].get("dictionary") for c in cells]),
        }

    def _nulls(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Null → p-value of the test IIA against the best of the grid, that best's 95 % quantile, and each draw's best."""
        if self.nulls is None:
            return {}
        mine = self.nulls[(self.nulls["hypothesis"] == name) & (self.nulls["width"] == 0)]
        done = {}
        for null, rows in mine.groupby("null"):
            counts = self.labels["grid"][name]
            law = Null(tuple(rows["iia"]), counts["trained"] + counts["dead"], self._audits["val"][name]["pairs"])
            best = rows.groupby("draw")["iia"].max().tolist()
            done[str(null)] = {"p": law.p(entry["test_iia"]), "quantile95": law.quantile(0.95), "draws": best}
        return done

    @cached_property
    def _audits(self) -> dict[str, Any]:
        """Split → hypothesis → what its pairs can show."""
        audits: dict[str, Any] = read_json(self.run.folder / "audit.json")
        return audits

    def _facts(
        self, name: str, entry: Mapping[str, Any], found: Mapping[str, Any], added: Added | None = None
    ) -> Facts:  # fmt: skip
        audit = self._audits["test"][name]
        rivals = {other: best["apart"] for other, best in audit["could_be"].items() if best["apart"] is not None}
        known = audit["could_be"]  # of equals, one that is true where the claim is comes after a rival
        rival = max(rivals, key=lambda other: (rivals[other], not known[other].get("sibling")), default=None)
        card, beside = entry["scorecard"] or {}, entry["baselines"]
        flips = {part: list(card[part].values()) for part in ("cause", "read_cause") if card.get(part)}
        return Facts(
            hypothesis=self.labels["names"][name],
            accuracy=beside["lm_base"],
            commonest=max(audit["base_answers"].values(), default=0.0),
            iia=entry["test_iia"],
            low=entry["test_ci"][0],
            **{part: beside[part] for part in (*UNLEARNED, "ceiling")},
            p={null: figures["p"] for null, figures in found["nulls"].items()},
            **{part: float(np.mean(shares)) for part, shares in flips.items()},
            rival=OWN if rival and known[rival].get("sibling") else rival,
            rival_iia=rivals[rival] if rival else None,
            failing=next((group["text"] for group in found["failures"]), None),
            exhausted=all(best.get("exhausted", True) for best in audit["could_be"].values()),
            upstream=card.get("upstream") or {},
            legible=min((gain(*read) for read in (card.get("decoding") or {}).values()), default=None),
            model=audit.get("model", True),
            added=added,
            **{name: entry[name] for name in ("late", "checks", "broken")},
        )

    # --- comparisons, on the same pairs ---

    def _added(self, name: str) -> Added | None:
        """What the training of a hypothesis' chosen cells adds to the closed form that does best there on validation pairs."""
        closed = [cells for cells in self._kinds(name).values() if isinstance(cells[0].kind, Direction)]
        main = self._main(name)
        if not closed or not main[0].trains:
            return None
        best = max(closed, key=lambda cells: np.mean([self.cards[c]["metrics"]["val"]["iia"] for c in cells]))
        flips = self._flips(name) if "flip_iia" in self.cards[main[0]]["metrics"]["test"] else None
        on_flips = None if flips is None else self._difference(name, main, best, flips)
        return Added(kind_name(best[0].kind), self._difference(name, main, best), on_flips)

    def _between_kinds(self) -> list[dict[str, Any]]:
        """Of kinds of subspace at the chosen sites, on test pairs."""
        return [
            _comparison(f"{self.labels['names'][name]}: {one}", other, "test", self._difference(name, kinds[one], kinds[other]))
            for name in self.chosen
            for kinds in [self._kinds(name)]
            for one, other in combinations(kinds, 2)
        ]

    def _flips(self, name: str) -> Hits:
        """The test pairs whose answer is another than the base's, (pairs,)."""
        mine = [("split", "==", "test"), ("hypothesis", "==", name)]
        table = read_table(self.run.folder / "pairs.parquet", filters=mine)
        return differ(table["answer"].to_numpy(), table["base_answer"].to_numpy())

    def _difference(self, name: str, one: Sequence[Cell], other: Sequence[Cell], some: Hits | None = None) -> Difference:
        """some: the test pairs that count, (pairs,); by default all."""
        bootstrap = self.bootstraps[name] if some is None else Bootstrap(self.run.test_prompts(name)[:, some])
        return bootstrap.difference(*(self._hits_of(cells)[:, slice(None) if some is None else some] for cells in (one, other)))

    def _between_sites(self) -> list[dict[str, Any]]:
        """Of the chosen site and the next best on validation, on test pairs; the seeds of the grid."""
        done = []
        for name, site in self.chosen.items():
            main = self._main(name)
            at = {key[1]: cells for key, cells in self._together.items() if key[0] == name and key[2] == main[0].kind}
            rest = [s for s in at if s != site and "raced" not in self.cards[at[s][0]]]
            if rest:
                second = max(rest, key=lambda s: np.mean([self.cards[c]["metrics"]["val"]["iia"] for c in at[s]]))
                mine = f"{self.labels['names'][name]}: {place_text(asdict(site))}"
                one = main[: len(at[second])]
                done.append(_comparison(mine, place_text(asdict(second)), "test", self._difference(name, one, at[second])))
        return done

    def _main(self, name: str) -> list[Cell]:
        """The cells of the run's main kind at a hypothesis' chosen site."""
        return next(iter(self._kinds(name).values()))

    def _between_hypotheses(self) -> list[dict[str, Any]]:
        """Of hypotheses at their chosen sites, on natural pairs, each by its own labels."""
        natural = {n: [self.run.natural(c) for c in self._main(n) if self.run.scorecard(c)] for n in self.chosen}
        hits = {name: np.stack([n.hits for n in some]) for name, some in natural.items() if some}
        names = self.labels["names"]
        return [
            _comparison(names[a], names[b], "natural", Bootstrap(natural[a][0].prompts).difference(hits[a], hits[b]))
            for a, b in combinations(hits, 2)
        ]


def _order(cell: Cell) -> tuple[Any, ...]:
    site = cell.site
    return cell.hypothesis, row_order((site.layer, "")), site.position, site.component, kind_name(cell.kind), cell.seed


def _comparison(one: str, other: str, pairs: str, difference: Difference) -> dict[str, Any]:
    return {"one": one, "other": other, "pairs": pairs, **asdict(difference)}


def _number(values: Sequence[float | None]) -> float | None:
    """Their mean, leaving out those that there are none of."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _mean(values: Sequence[Any]) -> Any:
    """The mean over seeds of equal structures of numbers; of a number that some seeds lack, over the others."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if isinstance(known[0], Mapping):
        return {name: _mean([value.get(name) for value in known]) for name in known[0]}
    return np.mean(known, axis=0).tolist()


def _reconstructed(card: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """A cell's validation metrics with how often prompts are answered right with the vector replaced by its dictionary's
    reconstruction, nothing swapped; nothing where that was not tried."""
    share = (card.get("dictionary") or {}).get("reconstruction")
    return {} if share is None else {"val": card["metrics"]["val"] | {RECONSTRUCTED: share}}


def _unswapped(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What there is to say of a dead cell: all swaps score what none does. metrics: of another cell of its hypothesis."""
    known = {split: Baselines(**{f.name: found[f.name] for f in fields(Baselines)}) for split, found in metrics.items()}
    same = {
        split: dict.fromkeys(("iia", "iia_soft", "whole", "random"), b.noop) | {"normalised": b.normalised(b.noop)}
        for split, b in known.items()
    }
    return {"metrics": {split: same[split] | asdict(b) for split, b in known.items()}, "curves": {}}


def _seed(cell: Cell, card: Mapping[str, Any]) -> dict[str, Any]:
    named = {f"{s}_{m}": card["metrics"][s].get(m) for s in ("val", "test") for m in ("iia", "flip_iia")}
    return {"seed": cell.seed, "rank": card["rank"], "steps": card["steps"], **named}


def _dictionary(known: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """How good the dictionary is whose latents were swapped (see `das.find.choosing`), means over cells; None of others."""
    some = [each for each in known if each]
    names = [name for name in some[0] if name != "latents"] if some else []
    return {name: _number([each[name] for each in some]) for name in names} or None


def _head(cell: Cell) -> dict[str, Any]:
    """The columns of the results table that say which cell it is."""
    where = {"hypothesis": cell.hypothesis, **asdict(cell.site), "subspace": kind_name(cell.kind)}
    return {"cell": cell.id, **where, "seed": cell.seed}


def _raced(card: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """A cell's test metrics with the step after which a race stopped it; nothing where none did."""
    return {"test": card["metrics"]["test"] | {"raced": float(card["raced"])}} if "raced" in card else {}


def cell_rows(cell: Cell, card: Mapping[str, Any], scorecard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A cell's rows of the results table; a rank curve's points have their width, everything else has width 0."""
    head, rows = _head(cell), []
    for split, metrics in (card["metrics"] | _reconstructed(card) | _raced(card)).items():
        rows += [head | {"split": split, "metric": m, "width": 0, "value": v} for m, v in metrics.items()]
    on_test = {"test": scorecard["curve"]} if scorecard.get("curve") else {}
    for split, curve in (card["curves"] | on_test).items():
        rows += [head | {"split": split, "metric": "iia", "width": int(w), "value": v} for w, v in curve.items()]
    return rows
