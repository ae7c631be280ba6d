"""Around: what there is where one stands: tasks, networks and runs, by looking at names and small files alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from das.errors import DasError
from das.judge.claims import Claim
from das.network.named import NAMED
from das.run.about import go_on
from das.run.lock import held
from das.run.places import BESIDE, PICTURES

RUNS, NETWORKS, CONFIG, SUMMARY, PAGE = "runs", "models", "config.yaml", "summary.json", "report.html"
FINISHED, RUNNING, INTERRUPTED, UNREADABLE = "finished", "running", "interrupted", "cannot be read"
MODELS = Path(__file__).parents[1] / "models"


def networks() -> list[str]:
    """Networks that ship with das, have a short name, or lie in `models/`."""
    kinds = "config.json", "adapter_config.json"
    here, ours = (sorted({p.parent for kind in kinds for p in at.glob(f"*/{kind}")}) for at in (Path(NETWORKS), MODELS))
    return [*(path.name for path in ours), *NAMED, *map(str, here)]


@dataclass(frozen=True)
class Found:
    """A run's folder as it lies there. cells: finished ones. verdicts: how many hypotheses have which; sentences: each in full.
    page: the run's, if there is one. when: it was last written to."""

    folder: Path
    state: str
    task: str
    lm: str
    cells: int
    verdicts: dict[str, int]
    sentences: list[str]
    page: str | None
    when: datetime

    @classmethod
    def at(cls, folder: Path) -> Found:
        """What a run's folder says of itself."""
        settings, summary = _settings(folder / CONFIG), _summary(folder / SUMMARY)
        unread = settings is None or (summary is None and (folder / SUMMARY).exists())
        state = UNREADABLE if unread else FINISHED if summary is not None else RUNNING if held(folder) else INTERRUPTED
        found = [entry.get("verdict") or {} for entry in (summary or {}).get("hypotheses", {}).values()]
        verdicts = Counter(verdict.get("verdict", "no verdict") for verdict in found)
        sentences = [verdict["sentence"] for verdict in found if "sentence" in verdict]
        page = str(folder / PAGE) if (folder / PAGE).exists() else None
        task, lm = ((settings or {}).get(key, "?") for key in ("task", "lm"))
        cells = len(list((folder / "cells").glob("[!.]*/card.json")))
        written = max(path.stat().st_mtime for path in (folder, folder / CONFIG, folder / SUMMARY) if path.exists())
        when = datetime.fromtimestamp(written)
        return cls(folder, state, str(task), str(lm), cells, dict(verdicts), sentences, page, when)

    @property
    def outcome(self) -> str:
        """Its verdicts in a word each, or its state where it has none."""
        counted = ", ".join(f"{n} {verdict}" for verdict, n in self.verdicts.items())
        return counted if self.state == FINISHED else self.state

    @property
    def go_on(self) -> str:
        """The command with which an interrupted run goes on."""
        return go_on(self.folder)

    def text(self) -> str:
        """Its verdicts in full, and where its page lies."""
        return "\n".join([f"{self.folder}: {self.page or self.outcome}", *(f"  {sentence}" for sentence in self.sentences)])

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return vars(self) | {"folder": str(self.folder), "when": self.when.isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Claimed:
    """A circuit or edits, as a folder holds them. kind: which; the rest as of `Found`."""

    folder: Path
    kind: str
    task: str
    lm: str
    verdicts: dict[str, int]
    sentences: list[str]
    when: datetime

    @classmethod
    def at(cls, path: Path) -> Claimed:
        """What its JSON says."""
        body, when = _summary(path) or {}, datetime.fromtimestamp(path.stat().st_mtime)
        try:
            claims = [Claim.of_plain(each) for each in body.get("verdicts", ())]
        except (DasError, TypeError):
            claims = []
        task, lm = (str(body.get(key, "?")) for key in ("task", "lm"))
        verdicts = dict(Counter(claim.verdict for claim in claims))
        return cls(path.parent, path.stem, task, lm, verdicts, [claim.sentence for claim in claims], when)

    @property
    def outcome(self) -> str:
        """Its verdicts in a word each."""
        return ", ".join(f"{n} {verdict}" for verdict, n in self.verdicts.items()) or "no verdict"

    def text(self) -> str:
        """Its verdicts in full."""
        return "\n".join([f"{self.folder}: {self.kind}, {self.outcome}", *(f"  {sentence}" for sentence in self.sentences)])

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return vars(self) | {"folder": str(self.folder), "when": self.when.isoformat(timespec="seconds")}


def claimed(folder: str | Path = RUNS) -> list[Claimed]:
    """The circuits and edits in a folder, in the folders in it and beside their runs, the latest first."""
    depths = "", "*/", "*/*/", f"{BESIDE}/*/", f"*/{BESIDE}/*/", f"*/*/{BESIDE}/*/"
    found = {path for depth in depths for kind in PICTURES for path in Path(folder).glob(f"{depth}{kind}.json")}
    return sorted(map(Claimed.at, found), key=lambda each: each.when, reverse=True)


def runs(folder: str | Path = RUNS) -> list[Found]:
    """The runs in a folder and in the folders in it, the latest first; the folder itself if it is one."""
    places = {path.parent for pattern in (CONFIG, f"*/{CONFIG}", f"*/*/{CONFIG}") for path in Path(folder).glob(pattern)}
    return sorted(map(Found.at, places), key=lambda run: run.when, reverse=True)


def cells(folder: str | Path) -> list[str]:
    """The cells of a run by what they are called: hypotheses, whose chosen cells are meant, and ids."""
    chosen = (_summary(Path(folder) / SUMMARY) or {}).get("hypotheses", {})
    return [*chosen, *sorted(path.parent.name for path in Path(folder).glob("cells/[!.]*/card.json"))]


def _settings(path: Path) -> dict[str, Any] | None:
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) and {"task", "lm"} <= set(found) else None


def _summary(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
