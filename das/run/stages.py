"""Stages: what a run does in turn, what each part is for, and what can be said between them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from das.run.summary import Summary
from das.text import two

PURPOSES = {
    "pairs": "pairs of prompts, drawn or brought, and the answers that a swap should lead to",
    "dead sites": "where no swap can change an answer nothing is trained",
    "screen": "how much every site matters to the answer, so that the budget goes to the best",
    "trace": "what a trace brought back at every site, so that the budget goes to the best",
    "race": "all sites train for a first part of the steps, then the better half of them",
    "grid": "an alignment is trained for every hypothesis at every site",
    "closed forms": "what can be had at every site without training, to be held against what was trained",
    "chosen cells": "more seeds, and the kinds beside, where each hypothesis does best",
    "nulls": "the same search where there is nothing to be found: what luck reaches",
    "evidence": "what the chosen alignments carry and leave alone; the verdicts rest on it",
    "shifts": "the alignments, as they are, on the same question put otherwise",
}
"""Stage → what it is for. The last comes after the verdicts, and may be added to a finished run."""

DONE = "done"
"""After the last stage."""

OPEN = "not judged yet"
"""In place of a verdict."""


def so_far(summary: Summary, stage: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """What `summary.json` and the results would say after a stage, without verdicts: those rest on what is still to come."""
    body = summary.body() | {"stage": stage}
    for entry in body["hypotheses"].values():
        for found in (entry, *entry["beside"].values()):
            noop, ceiling = (two(found["baselines"][name]) for name in ("noop", "ceiling"))
            sentence = f"{entry['hypothesis']}: {OPEN}. IIA {two(found['test_iia'])} so far (no-op {noop}, ceiling {ceiling})."
            found["verdict"] |= {"verdict": OPEN, "sentence": sentence, "p": None}
    return body, summary.results()
