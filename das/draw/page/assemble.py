"""Assemble: the page from its parts. Nothing of it comes from elsewhere, and no script runs but those that are shipped here."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from das.draw.page.beside import beside
from das.draw.page.cells import cells, results_of
from das.draw.page.examples import examples
from das.draw.page.history import history
from das.draw.page.hypotheses import hypotheses
from das.draw.page.packed import Blobs
from das.errors import DasError
from das.find.kinds import kind_name, parse_kind
from das.ground.plain import finite, read_yaml
from das.ground.storage import read_json, written
from das.run.beside import Study
from das.run.folder import Folder
from das.run.words import PROMPT
from das.task.positions import expand_positions
from das.task.variant import BASE

STATIC = Path(__file__).parent / "static"
VENDOR = ("d3.min.js", "plot.umd.min.js")
SCRIPTS = (
    "page.js", "data.js", "charts.js", "heatmap.js", "examples.js", "inside.js", "cell.js", "sections.js", "beside.js",
    "main.js",
)  # fmt: skip
"""In the order in which they run; each is one inline script."""

STYLES = ("palette.css", "page.css")


def page(run: Folder, studies: Sequence[Study] = ()) -> str:
    """The HTML of a run's folder, finished or not, with what is attached to it; DasError where it is no run folder."""
    if not (run.folder / "config.yaml").is_file():
        raise DasError(f"{run.folder} is no run folder: expected one that das run has written")
    blobs = Blobs()
    data = gathered(run, blobs, studies)
    scripts = [shipped(f"vendor/{name}") for name in VENDOR] + [shipped(name) for name in SCRIPTS]
    parts = {
        "policy": _policy(scripts),
        "title": escape(f"{data['task']} · {data['lm']}"),
        "style": "".join(shipped(name) for name in STYLES),
        "plain": _plain(data["hypotheses"], studies),
        "data": _json(data),
        "blobs": "\n".join(f'<script type="text/plain" id="blob-{i}">{b}</script>' for i, b in enumerate(blobs.packed)),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    return re.sub(r"<!--(\w+)-->", lambda found: parts[found[1]], shipped("page.html"))


def gathered(run: Folder, blobs: Blobs, studies: Sequence[Study] = ()) -> dict[str, Any]:
    """All that the page tells. Long columns go into `blobs`."""
    config = read_yaml(run.folder / "config.yaml")
    summary = _summary(run)
    prompt = read_json(run.folder / PROMPT) if written(run.folder / PROMPT) else None
    tokens = (summary or prompt or {}).get("tokens", {})
    positions = list(tokens or expand_positions(config.get("positions") or []))
    results, told, screened = results_of(run), history(run), run.screened()
    return {
        "task": str(config.get("task")), "lm": str(config.get("lm")), "run": run.folder.resolve().name,
        "under": _shift(config.get("under", BASE)),
        "finished": summary is not None and "stage" not in summary, "accuracy": summary and summary["task_accuracy"],
        "versions": (summary or {}).get("versions", {}), "comparisons": (summary or {}).get("comparisons", []),
        "hypotheses": hypotheses(run, summary, results["hypothesis"].unique().tolist()),
        "prompt": prompt, "tokens": tokens, "layers": (summary or {}).get("layers", []),
        "cells": cells(run, results, positions, blobs),
        "closed": [kind_name(parse_kind(kind)) for kind in config.get("closed_forms") or []],
        "screen": screened.to_dict("records") if screened is not None else [],
        "examples": examples(run, blobs),
        "inside": {path.parent.name: read_json(path) for path in sorted(run.folder.glob("look/*/inside.json"))},
        "beside": beside(studies, summary),
        "command": f"das run again.yaml --out runs/{run.folder.resolve().name}-again",
    } | told  # fmt: skip


def _shift(given: Any) -> str | None:
    """The shift that a run was made under, in words; None where its prompts are the task's own."""
    return None if given == BASE else given if isinstance(given, str) else json.dumps(given)


def _summary(run: Folder) -> dict[str, Any] | None:
    """The run's, whole or so far; None where there is none yet."""
    try:
        return run.summary
    except DasError:
        if written(run.folder / "summary.json"):
            raise
        return None


def shipped(name: str) -> str:
    """A file of the folder `static`."""
    return (STATIC / name).read_text("utf-8")


def _policy(scripts: list[str]) -> str:
    """What a browser may run of the page: these scripts by their hashes, and nothing from the network."""
    hashes = (b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _plain(entries: list[dict[str, Any]], studies: Sequence[Study]) -> str:
    """The verdicts, for a reader without scripts."""
    sentences = [verdict["sentence"] for entry in entries if (verdict := (entry["found"] or {}).get("verdict"))]
    sentences += [claim.sentence for study in studies for claim in study.claims]
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _json(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element which it stands in."""
    text = json.dumps(finite(data), allow_nan=False, default=_as_number, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _as_number(value: Any) -> Any:
    """A number of numpy's, or whatever else, as text."""
    return value.item() if hasattr(value, "item") else str(value)
