"""Hypotheses: what each claims, what was found of it, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from das.draw.dag import levels as floors
from das.draw.evidence import NULLS, effects, levels, luck
from das.draw.outcome import evidence_figures, kinds_of
from das.run.folder import Folder


def hypotheses(run: Folder, summary: Mapping[str, Any] | None, found: Sequence[str]) -> list[dict[str, Any]]:
    """One entry each. summary: of a finished run. found: the names of those that have finished cells."""
    made, nulls = run.made.get("hypotheses", {}), run.nulls()
    entries = summary["hypotheses"] if summary else {}
    names = dict.fromkeys([*entries, *found]) or dict.fromkeys(made)
    return [_hypothesis(run, name, made.get(name), entries.get(name), nulls) for name in names]


def _hypothesis(
    run: Folder, name: str, made: Mapping[str, Any] | None, entry: Mapping[str, Any] | None, nulls: pd.DataFrame | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"name": name, "full": name, "found": entry, "by_value": run.failures(name)["by_value"]}
    if made:
        body |= {"full": f"{name}.{'+'.join(made['variables'])}", "dag": _dag(made["parents"], made["variables"])}
    if entry:
        body |= {"full": entry["hypothesis"], "luck": luck(entry), "nulls": _null_curves(nulls, name, entry)}
        body["evidence"] = {kind: _evidence(each) for kind, each in kinds_of(entry).items()}
        if card := entry.get("scorecard"):
            rows, columns, shares = effects(card)
            body["effects"] = {"rows": rows, "columns": columns, "shares": shares.tolist()}
            body["levels"] = [asdict(step) for step in levels(card)]
    return body


def _evidence(found: Mapping[str, Any]) -> dict[str, float | None]:
    """Of a kind of subspace the figures of its scorecard; of a dictionary also how often prompts are answered right with the
    vector replaced by its reconstruction."""
    figures = evidence_figures(found.get("scorecard") or {})
    return figures | {"right reconstructed": (found.get("dictionary") or {}).get("reconstruction")}


def _dag(parents: Mapping[str, Sequence[str]], aligned: Sequence[str]) -> dict[str, Any]:
    """Variables by level, inputs first; the arrows; and which variables are aligned. parents: of all but the inputs."""
    inputs = dict.fromkeys(p for above in parents.values() for p in above if p not in parents)
    every = dict.fromkeys(inputs, ()) | dict(_in_order(parents, inputs))
    arrows = [[parent, name] for name, above in parents.items() for parent in above]
    return {"levels": floors(every), "arrows": arrows, "aligned": list(aligned)}


def _in_order(parents: Mapping[str, Sequence[str]], known: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """Each after its parents: JSON keeps the order, other hands may not."""
    left, done, ordered = dict(parents), set(known), []
    while ready := [name for name, above in left.items() if done.issuperset(above)]:
        ordered += [(name, left.pop(name)) for name in ready]
        done.update(ready)
    return ordered


def _null_curves(nulls: pd.DataFrame | None, name: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each null at the chosen site: by width, the mean and the range over draws, at the widths that all draws have."""
    if nulls is None:
        return []
    mine = (nulls["hypothesis"] == name) & (nulls["width"] > 0)
    for part in ("layer", "position", "component"):
        mine &= nulls[part] == entry[part]
    done = []
    for null, rows in nulls[mine].groupby("null"):
        by = rows.groupby("width")["iia"].agg(["count", "mean", "min", "max"])
        by = by[by["count"] == by["count"].max()]
        curve = {"width": by.index.tolist(), **{part: np.asarray(by[part]).tolist() for part in ("mean", "min", "max")}}
        done.append({"null": null, "label": NULLS.get(str(null), (str(null),))[0], **curve})
    return done
