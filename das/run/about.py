"""About: what a run's folder says of itself to whoever opens it in a year."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from das.text import aligned

README = "README.txt"

TEXT = """A run of das (causal abstraction by distributed alignment search): {task} on {lm}.

Is a variable of a causal model to be found in the network's activations? For each hypothesis, subspaces were trained at many
layers and positions, and tried by swapping them between prompts. IIA (interchange-intervention accuracy) is the share of pairs
of prompts on which the patched network gives the causal model's answer.

Made, and gone on with where it was stopped, by:

  {command}

When it has finished (HYPOTHESIS: a name in summary.json):

{uses}

summary.json        verdicts, the chosen cell of each hypothesis and its scores; there when the run has finished
heatmaps.png        IIA over layers and positions; heatmap_*.png one by one
evidence_*.png      what the chosen alignments carry and leave alone; rank_*.png IIA by the number of columns swapped
dose_*.png          what adding their directions does to the answers
results.parquet     a row per cell, split and metric
examples.parquet    a row per cell and test pair: was the answer the causal model's?
pairs.parquet       the pairs of prompts; audit.json what can be told apart with them
cells/              a folder per cell: alignment.safetensors the subspace, card.json its scores, scorecard.json the evidence
failures_*.json     the groups of pairs that fail
nulls/              the same search where there is nothing to be found
shifts/             the same alignments under other prompts, and shift.json
config.yaml         the settings; provenance.json what it was made from; time.json seconds of work
"""


def go_on(folder: str | Path) -> str:
    """The command with which the run in a folder goes on where it was."""
    return f"das run {quote(str(Path(folder) / 'config.yaml'))} --out {quote(str(folder))}"


def _uses(folder: str | Path, hypothesis: str) -> list[tuple[str, str]]:
    """Commands for a finished run, and what each is for."""
    at = quote(str(folder))
    return [
        (f"das report {at}", "all of it as one page"),
        (f"das apply {at} {hypothesis} BASE --source SOURCE", "swap it: both are texts, or values of all inputs"),
        (f"das look {at} {hypothesis}", "where it lies, and what it promotes"),
    ]


def onward(folder: str | Path, task: str, summary: Mapping[str, Any]) -> str:
    """What one may do next with a finished run: a command in each line."""
    entries = summary["hypotheses"]
    steps = _uses(folder, quote(next(iter(entries))))
    if any((entry.get("verdict") or {}).get("verdict") == "not identifiable" for entry in entries.values()):
        steps.append((f"das identify {quote(task)}", "which pairs and rivals would tell what is not identifiable"))
    lines = aligned([("", *step) for step in steps])
    return f"docs/reading-a-verdict.md says what verdicts and columns mean; next:\n{lines}"


def about(folder: Path, task: str, lm: str) -> str:
    """The text of `README.txt`."""
    more = [
        (f"das shift {quote(str(folder))}", "does what was found survive other prompts, if the task says some?"),
        (f"das.Run.open({str(folder)!r}).table()", "a row per cell, from Python"),
    ]
    uses = aligned([("", *step) for step in [*_uses(folder, "HYPOTHESIS"), *more]])
    return TEXT.format(task=task, lm=lm, command=go_on(folder), uses=uses)
