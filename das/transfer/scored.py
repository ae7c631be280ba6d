"""Scored: what a run's alignments score, on its own test pairs or under a shift; and the folder of a shift."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save_file

from das.errors import DasError
from das.find.kinds import kind_name
from das.find.sites import SITE, as_kept, as_read
from das.ground.storage import load, read_json, read_table, write, write_json, written
from das.interchange.accuracy import Accuracy
from das.judge.evaluate import Record
from das.pairs.dataset import Rows
from das.run.folder import Folder
from das.run.settings import plain_data
from das.task.plain_shifts import slug

HEAD = ("cell", "hypothesis", "layer", "component", "position", "subspace", "seed", "rank")
KEPT = ("iia", "flip_iia", "iia_correct", "iia_incorrect", "whole", "random", "noop", "majority", "ceiling")
"""The metrics that are kept of a test under a shift."""


@dataclass
class Scored:
    """Cells and their scores on the same pairs.

    table: a row per cell with hypothesis, site, subspace, seed, rank and the metrics (`KEPT`; nan where there is none). hits:
    cell → (pairs,). rows: hypothesis → which of the place's test pairs; prompts: → the base and the source prompts of each of
    them, as numbers, (ways, pairs); the base alone where an older version tested.
    """

    table: pd.DataFrame
    hits: Mapping[str, NDArray[np.bool_]]
    rows: Mapping[str, Rows]
    prompts: Mapping[str, Rows]

    @classmethod
    def of_run(cls, run: Folder) -> Scored:
        """A run's cells on its own test pairs."""
        table = run.found().rename(columns={f"test_{metric}": metric for metric in KEPT})
        hits = {cell: run.hits(run.alignment(cell).cell) for cell in table["cell"]}
        prompts = {h: run.test_prompts(h) for h in table["hypothesis"].unique()}
        rows = {h: np.arange(ways.shape[1]) for h, ways in prompts.items()}
        return cls(table.reindex(columns=[*HEAD, *KEPT]), hits, rows, prompts)

    def at(self, hypothesis: str, subspace: str, place: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The rows of one hypothesis and kind, at all sites or at one."""
        mine = self.table[(self.table["hypothesis"] == hypothesis) & (self.table["subspace"] == subspace)]
        for key in SITE if place else ():
            mine = mine[mine[key] == place[key]]  # type: ignore[index]
        return mine

    def stack(self, cells: Iterable[str]) -> NDArray[np.bool_]:
        """(cells, pairs)"""
        return np.stack([self.hits[cell] for cell in cells])


class ShiftFolder:
    """`shifts/<name>/` of a run: `from-<trained>.parquet` and `.safetensors`, the scores under this shift of what was trained
    there; `shift.json`; `run-<share>/`, runs under the shift itself on so much of the grid."""

    def __init__(self, run: Path, name: str) -> None:
        self.name = name
        self.path = run / "shifts" / slug(name)

    @classmethod
    def all(cls, run: Path) -> list[ShiftFolder]:
        """Those that the run's own alignments were tested under, in the order in which they were given."""
        paths = (folder / "shift.json" for folder in (run / "shifts").glob("*"))
        found = [read_json(path) for path in paths if written(path)]
        folders = [cls(run, about["name"]) for about in sorted(found, key=lambda about: about["order"])]
        return [folder for folder in folders if folder.has("base")]

    def run(self, share: float) -> Path:
        """Where a run under the shift lies, on a share of the grid."""
        return self.path / f"run-{share:g}"

    @property
    def trained(self) -> Folder | None:
        """The finished run under the shift on the largest share of the grid, if there is any."""
        shares = {float(path.parent.name.removeprefix("run-")): path.parent for path in self.path.glob("run-*/summary.json")}
        return Folder(shares[max(shares)]) if shares else None

    @property
    def about(self) -> dict[str, Any]:
        """What `shift.json` says: the shift, the network's accuracy under it, and where positions exist; empty before."""
        path = self.path / "shift.json"
        return read_json(path) if written(path) else {}

    def begin(self, spec: Any, template: str, made: Mapping[str, Any]) -> None:
        """DasError if the folder holds another shift of this name. made: the print of what is asked (see
        `das.run.provenance`)."""
        there = self.about
        if there and (there["spec"], there["template"]) != (json.loads(json.dumps(plain_data(spec))), template):
            raise DasError(
                f"{self.path} holds another shift called {self.name!r} ({there['spec']!r}: {there['template']!r}): "
                "give this one another name"
            )
        if there.get("made", made) != made:
            raise DasError(
                f"shift {self.name!r} has changed since {self.path} was made: its inputs, words or answers are others. "
                "Give it another name, or put it back"
            )

    def describe(
        self, spec: Any, template: str, made: Mapping[str, Any], order: int, known: Accuracy, coverage: Mapping[str, float]
    ) -> None:
        """Writes `shift.json`."""
        body = {"name": self.name, "order": order, "spec": plain_data(spec), "template": template}
        body |= {"made": dict(made)}
        body |= {**asdict(known), "solved": known.solved, "coverage": coverage}
        write_json(self.path / "shift.json", body)

    def has(self, trained: str) -> bool:
        """Whether what was trained there was tested here."""
        return written(self._scores(trained))

    def _scores(self, trained: str) -> Path:
        return self.path / f"from-{slug(trained)}.parquet"

    def save(self, trained: str, records: Sequence[Record], rows: Mapping[str, Rows], prompts: Mapping[str, Rows]) -> None:
        """Writes what was scored here. rows: hypothesis → the test pairs that were; prompts: → all pairs' base and source
        prompts, (ways, pairs)."""
        tensors: dict[str, Any] = {f"hits {r.alignment.cell.id}": r.hits.astype(np.uint8) for r in records}
        tensors |= {f"rows {h}": each for h, each in rows.items()}
        tensors |= {f"prompts {h}": np.ascontiguousarray(prompts[h][:, each]) for h, each in rows.items()}
        write(self._scores(trained).with_suffix(".safetensors"), lambda p: save_file(tensors, p))
        table = pd.DataFrame([_row(record) for record in records], columns=[*HEAD, *KEPT]).astype(dict.fromkeys(KEPT, float))
        write(self._scores(trained), lambda p: as_kept(table).to_parquet(p))

    def scored(self, trained: str) -> Scored:
        """What was scored here of what was trained there."""
        tensors = load(self._scores(trained).with_suffix(".safetensors"), tensors_of)
        parts: dict[str, dict[str, Any]] = {"hits": {}, "rows": {}, "prompts": {}, "base": {}}
        for key, values in tensors.items():
            part, _, name = key.partition(" ")
            parts[part][name] = values.astype(bool) if part == "hits" else values
        old = {name: np.atleast_2d(base) for name, base in parts.pop("base").items()}
        return Scored(as_read(read_table(self._scores(trained))), parts["hits"], parts["rows"], old | parts["prompts"])


def _row(record: Record) -> dict[str, Any]:
    cell, metrics = record.alignment.cell, record.metrics["test"]
    head = {"cell": cell.id, "hypothesis": cell.hypothesis, **asdict(cell.site), "subspace": kind_name(cell.kind)}
    return head | {"seed": cell.seed, "rank": record.alignment.rank} | {m: metrics.get(m, float("nan")) for m in KEPT}
