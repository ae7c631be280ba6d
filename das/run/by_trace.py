"""By trace: a budget's order of sites from what a causal trace has brought back there, in the place of a screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from das.circuits.tracing import KINDS
from das.errors import DasError
from das.ground.storage import read_json
from das.network.site import Site
from das.run.provenance import Print, others
from das.text import count

FILE = "trace.json"
KIND_OF = {component: kind for kind, component in KINDS.items()}
"""Component of a site → what a trace restores there."""
ABOUT = "task", "lm", "hypothesis", "corrupt", "window", "made_from"
NAMED = 3
"""Sites that an error names."""

Place = tuple[str | None, Any, str]
"""Kind of what is restored, layer, position."""


@dataclass(frozen=True)
class Trace:
    """A finished trace. about: of `das.use.causal_trace.CausalTrace`; cells: the rows of its table."""

    folder: Path
    about: Mapping[str, Any]
    cells: Mapping[Place, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """DasError where there is no finished trace, or one by an older version that does not say what it was made from."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise DasError(f"trace: {str(folder)!r} holds no {FILE}: give the folder of a finished `das trace`")
        body = read_json(path)
        if not isinstance(body, dict) or any(name not in body for name in (*ABOUT, "cells")):
            raise DasError(f"{path} does not say what it was made from: trace again with this version of das")
        cells = {(row["kind"], row["layer"], row["position"]): row for row in body["cells"]}
        return cls(Path(folder), {name: body[name] for name in ABOUT}, cells)

    def check(self, made: Print, lm: str, names: Mapping[str, str], sites: Sequence[Site]) -> None:
        """DasError where it is not of the task, the network or a hypothesis of a run, or lacks one of its sites. made: the
        run's prints; lm: what its network is called; names: hypothesis → its full name."""
        if changed := others(self.about["made_from"], made, self.about["lm"], lm):
            raise DasError(
                f"{self.folder} is a trace of {self.about['task']} in {self.about['lm']}, made from something else than this "
                f"run would be: {'; '.join(changed)}. Trace what is to be run"
            )
        self._check_hypotheses(names.values())
        if lacking := [site for site in sites if _place(site) not in self.cells]:
            more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
            kinds = sorted({str(KIND_OF[site.component]) for site in lacking if site.component in KIND_OF})
            todo = f"trace them too (its layers, positions, and kinds: {', '.join(kinds)}), or " if kinds else ""
            raise DasError(
                f"{self.folder} says nothing of {count(len(lacking), 'sites')} of the grid: "
                f"{', '.join(map(str, lacking[:NAMED]))}{more}; {todo}leave them out, or let a screen rank the sites (no trace)"
            )

    def _check_hypotheses(self, names: Iterable[str]) -> None:
        """Under noise a trace is of the prompts; by the source it is of the pairs of one hypothesis."""
        foreign = [name for name in names if name != self.about["hypothesis"]]
        if self.about["corrupt"] == "source" and foreign:
            raise DasError(
                f"{self.folder} traces pairs of {self.about['hypothesis']}, and the run is of {', '.join(foreign)}: give "
                "--hypotheses with that one alone, trace by noise, or let a screen rank the sites (no trace)"
            )

    def table(self, name: str, sites: Sequence[Site]) -> pd.DataFrame:
        """A row for each site, with what was found there: `kind`, `window` (of layers), `effect`, by which sites are ranked
        (`score`), with its interval; and `recovered`."""
        return pd.DataFrame([{"hypothesis": name, **asdict(site), **self._found(site)} for site in sites])

    def _found(self, site: Site) -> dict[str, Any]:
        row = self.cells[_place(site)]
        figures = {key: _number(row[key]) for key in ("effect", "effect_low", "effect_high", "recovered")}
        window = 1 if row["kind"] == "state" else self.about["window"]
        return {"kind": row["kind"], "window": window, **figures, "score": figures["effect"]}


def _place(site: Site) -> Place:
    return KIND_OF.get(site.component), site.layer, site.position


def _number(value: float | None) -> float:
    """JSON has null for what is no number."""
    return float("nan") if value is None else float(value)
