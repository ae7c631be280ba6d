"""How fast is the page of a large run: its making, its loading, a click, a filter; and how large is it?

    python benchmarks/page.py --json out.json

Makes a run folder of 4 hypotheses × 500 sites (2,000 cells) × 25,000 test pairs each (100,000 rows) as a run leaves it, with
drawn scores, writes its page, and looks at that in a headless Chromium (see `browser.py`).
"""

from __future__ import annotations

import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import pandas as pd
from browser import ENTER, Browser
from safetensors.numpy import save_file

from das.use.report import write

BESIDE = {"noop": 0.5, "majority": 0.5, "random": 0.51, "whole": 0.75, "lm_base": 0.99, "lm_source": 0.99, "ceiling": 0.98}
CARD = {
    "decoding": {"v": [0.9, 0.6]}, "natural": 0.9, "cause": {"v": 0.8}, "whole_cause": {"v": 0.7}, "isolate": {"v": {"w": 0.9}},
    "rest": 0.4, "complete": 0.95, "clean": 0.99, "resampled": 0.5, "expected": 0.48, "wiped": 0.4, "restored": 0.9,
    "expected_restored": 0.85, "read_share": 0.6, "ablation": 0.49, "recovery": 0.85, "disentangle": 0.85,
}  # fmt: skip
SITE = {"component": "block_output", "subspace": "nested8", "seed": 0}


def make(
    folder: Path,
    hypotheses: tuple[str, ...],
    layers: int,
    positions: tuple[str, ...],
    pairs: int,
    said: str = "",
    seed: int = 0,
) -> Path:
    """A run folder as a run leaves it, scores and pairs drawn. said: part of every text in it."""
    rng = np.random.default_rng(0)
    sites = list(product(hypotheses, range(layers), positions))
    scores = dict(zip(sites, rng.uniform(0.3, 0.95, len(sites)), strict=True))
    ids = {(h, layer, p): f"h{hypotheses.index(h)}-L{layer:02d}-p{positions.index(p)}" for h, layer, p in sites}
    rows = []
    for (h, layer, position), iia in scores.items():
        head = {"cell": ids[h, layer, position], "hypothesis": h, "layer": layer, "position": position, **SITE, "width": 0}
        figures = {"iia": iia, "iia_low": iia - 0.03, "iia_high": iia + 0.03, "flip_iia": iia**2, "normalised": 2 * iia - 1}
        rows += [head | {"split": "test", "metric": m, "value": v} for m, v in (figures | BESIDE | {"rank": 4}).items()]
        rows += [head | {"split": "val", "metric": m, "value": v} for m, v in {"iia": iia - 0.01, "rank": 4}.items()]
        rows += [head | {"split": "val", "metric": "iia", "width": w, "value": iia - 0.2 / w} for w in (1, 2, 4, 8)]
        (folder / "cells" / ids[h, layer, position]).mkdir(parents=True)
        hits = (rng.random(pairs) < iia).astype(np.uint8)
        save_file({"test": hits}, folder / "cells" / ids[h, layer, position] / "hits.safetensors")
    pd.DataFrame(rows).to_parquet(folder / "results.parquet")
    chosen = {h: max((site for site in sites if site[0] == h), key=lambda site: scores[site]) for h in hypotheses}
    entries = {h: entry(h, layer, position, float(scores[h, layer, position]), said) for h, layer, position in chosen.values()}
    summary = {
        "hypotheses": entries,
        "tokens": dict.fromkeys(positions, f"{said} "),
        "task_accuracy": 0.99,
        "cells": len(sites),
    }
    (folder / "summary.json").write_text(json.dumps(summary | {"versions": {"torch": said or "2"}, "comparisons": []}))
    (folder / "config.yaml").write_text(f"task: {json.dumps(said or 'made up')}\nlm: {json.dumps(said + 'network')}\n")
    made = {h: {"variables": ["v"], "parents": {"v": ["a", "b"], f"{said}out": ["v", "b"]}} for h in hypotheses}
    (folder / "provenance.json").write_text(json.dumps({"made_from": {"hypotheses": made, "python": "3", "weights": {}}}))
    prompt = {"text": f"{said}What of 12?", "positions": {p: [[i, i + 1]] for i, p in enumerate(positions)}}
    (folder / "prompt.json").write_text(json.dumps(prompt))
    examples(folder, hypotheses, pairs, said, rng)
    return folder


def entry(name: str, layer: int, position: str, iia: float, said: str) -> dict[str, Any]:
    """A hypothesis' part of the summary."""
    full = f"{name}.v"
    group = {"conditions": f"base {said}a ≤ 3", "pairs": 9, "share": 0.1, "iia": 0.2, "failures": 0.6, "rest": False}
    return {
        "hypothesis": full, "layer": layer, "position": position, **SITE,
        "grid": {"trained": 1, "skipped": 0, "dead": 0}, "val_iia": iia, "test_iia": iia, "test_iia_sd": None,
        "test_ci": [iia - 0.03, iia + 0.03], "test_flip_iia": iia, "normalised": iia,
        "rank": 4.0, "baselines": BESIDE, "scorecard": CARD, "seeds": [{"seed": 0}], "beside": {}, "failures": [group],
        "nulls": {"random": {"p": 0.01, "quantile95": 0.55, "draws": [0.5, 0.52]}},
        "verdict": {"verdict": "partly", "sentence": f"{full}: partly; it is {said}so.", "p": 0.01},
    }  # fmt: skip


def examples(folder: Path, hypotheses: tuple[str, ...], pairs: int, said: str, rng: np.random.Generator) -> None:
    """Pairs of prompts of two numbers, as values and as texts."""
    tables, texts = [], []
    for name in hypotheses:
        a, b, c, d = (rng.integers(0, 1000, pairs) / 100 for _ in range(4))
        answers = {f"{which}answer": rng.random(pairs) < 0.5 for which in ("base_", "source_", "")}
        columns = {
            "base.a": a,
            "base.b": b,
            "source.v.a": c,
            "source.v.b": d,
            **answers,
            "family": ["flip", "keep"] * (pairs // 2),
        }
        tables.append(pd.DataFrame(columns).assign(split="test", hypothesis=name))
        wrote = {
            role: [f"{LONG}{said}Is {x:.2f} more than {y:.2f}?\n\n### Response:\n" for x, y in zip(*both, strict=True)]
            for role, both in (("base", (a, b)), ("source.v", (c, d)))
        }
        words = {column: np.where(values, f"{said}Yes", "No") for column, values in answers.items()}
        texts.append(pd.DataFrame(wrote | words).assign(hypothesis=name))
    pd.concat(tables).to_parquet(folder / "pairs.parquet")
    pd.concat(texts).to_parquet(folder / "texts.parquet")


LONG = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"


def looked_at(path: Path) -> dict[str, float]:
    """Seconds of what a person does with a page, in Chromium, and whether it complained."""
    with Browser() as tab:
        found = {"load": tab.open(path)}
        tab.click('.cells rect[tabindex="0"]')
        found["first click"] = tab.wait("document.querySelector('.pairs tbody tr')")
        tab.js("document.querySelector('.close').click()")
        tab.js("document.querySelectorAll('.cells rect')[7].focus()")
        tab.press("Enter", **ENTER)
        found["further click"] = tab.wait("document.querySelector('.pairs tbody tr')")
        tab.js("document.querySelector('.examples select').selectedIndex = 2")
        before = tab.js("document.querySelector('.told').textContent")
        tab.js("document.querySelector('.examples select').dispatchEvent(new Event('change'))")
        found["filter"] = tab.wait(f"document.querySelector('.told').textContent !== {json.dumps(before)}")
        found["complaints"] = len(tab.complaints)
    return found


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="8 cells and 40 rows: a trial of the benchmark")
    arguments = parser.parse_args()
    layers, positions, pairs = (2, 2, 20) if arguments.quick else (20, 25, 25_000)
    places = tuple(f"last-{i}" if i else "last" for i in range(positions - 1, -1, -1))
    names = ("one", "two", "three", "four")[: 2 if arguments.quick else 4]
    with tempfile.TemporaryDirectory() as scratch:
        folder = make(Path(scratch) / "run", names, layers, places, pairs)
        row: dict[str, Any] = {"cells": len(names) * layers * positions, "rows": len(names) * pairs}
        row["writing"] = gauge.seconds(lambda: write(folder))
        path = folder / "report.html"
        row |= {"megabytes": path.stat().st_size / 1e6} | looked_at(path)
    gauge.table([row])
    gauge.write_json(arguments.json, [row])


if __name__ == "__main__":
    main()
