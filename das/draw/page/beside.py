"""Beside: a run's circuits and edits, in one table with the alignments of the same hypothesis."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from das.draw.evidence import Step, levels
from das.draw.outcome import kinds_of
from das.errors import DasError
from das.ground.storage import read
from das.judge.claims import LEVELS, Claim, Share, Shares
from das.network.site import place_text
from das.run.beside import Study

PNG = b"\x89PNG\r\n\x1a\n"
"""What such a file begins with."""

BASELINES = {"noop": "no-op", "random": "random subspace"}
"""Of those of an alignment, what stands beside it where no nulls were run."""


def beside(found: Sequence[Study], summary: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Hypothesis by hypothesis, of those that something was attached of: the `rows` of its table, alignments first, and the
    `pictures` of what was attached. summary: of a run that has finished."""
    entries = summary["hypotheses"] if summary else {}
    by: dict[str, list[tuple[Study, Claim]]] = {}
    for study in found:
        for claim in study.claims:
            by.setdefault(claim.hypothesis.split(".")[0], []).append((study, claim))
    return [_table(name, some, entries.get(name)) for name, some in by.items()]


def _table(name: str, some: Sequence[tuple[Study, Claim]], entry: Mapping[str, Any] | None) -> dict[str, Any]:
    aligned = [_alignment(entry, kind, each) for kind, each in kinds_of(entry).items()] if entry else []
    attached = [_row("alignment", claim) for claim in aligned] + [_row(study.kind, claim) for study, claim in some]
    kept = {path: (study, claim) for study, claim in some for path in study.pictures}
    pictures = [{"source": _source(path), "title": _title(path, *of)} for path, of in kept.items()]
    return {"hypothesis": entry["hypothesis"] if entry else name, "rows": attached, "pictures": pictures}


def _row(kind: str, claim: Claim) -> dict[str, Any]:
    """As the page has it: figures in words."""
    asked = {level: list(map(str, claim.levels.get(level, ()))) for level in LEVELS}
    nulls = [f"{name}: {', '.join(each.bare for each in some)}" for name, some in claim.nulls.items()]
    words = {name: getattr(claim, name) for name in ("claim", "hypothesis", "verdict", "sentence")}
    return {"kind": kind, **words, "levels": asked, "nulls": nulls}


def _alignment(entry: Mapping[str, Any], kind: str, found: Mapping[str, Any]) -> Claim:
    """An alignment as a claim. found: of one kind at the hypothesis' chosen site."""
    verdict, (low, high) = found.get("verdict") or {}, found["test_ci"]
    iia = Share("IIA", found["test_iia"], low, high, found["baselines"]["noop"])
    steps = levels(found["scorecard"]) if found.get("scorecard") else []
    asked = {level: tuple(_share(step) for step in steps if step.level == level) for level in LEVELS}
    asked["interchange"] = (iia, *asked["interchange"])
    claim = f"{kind} alignment at {place_text(entry)}, rank {found['rank']:g}"
    told = verdict.get("sentence", "This folder kept no verdict.")
    return Claim(claim, entry["hypothesis"], verdict.get("verdict", "no verdict"), told, asked, _nulls(entry, found))


def _share(step: Step) -> Share:
    """Under the heading of its level, which need not be said again."""
    return Share(step.label.replace(step.level, "").strip() or step.label, step.end, start=step.start)


def _nulls(entry: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Shares]:
    """What luck reaches: the 95 % quantile of the grid's best, null by null; without any, what takes no learning."""
    nulls: dict[str, Shares] = {
        f"{name}, best of the grid": (Share("IIA", null["quantile95"]),) for name, null in entry.get("nulls", {}).items()
    }
    return nulls or {label: (Share("IIA", found["baselines"][name]),) for name, label in BASELINES.items()}


def _source(path: Path) -> str:
    """A picture as an address that holds it."""
    body = read(path)
    if not body.startswith(PNG):
        raise DasError(f"{path} is no PNG: make it anew")
    return f"data:image/png;base64,{b64encode(body).decode()}"


def _title(path: Path, study: Study, claim: Claim) -> str:
    what = claim.claim if study.kind == "circuit" else f"edits of {claim.hypothesis}, shares of questions by outcome"
    return f"{what}: faithfulness and completeness by size" if path.stem == "curve" else what
