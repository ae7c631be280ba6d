"""Audit: what a set of pairs can show, and which hypotheses it cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, codes, row_of
from das.pairs.identify import Claim, examine, way_text
from das.pairs.pairs import Pairs
from das.task.hypothesis import Hypothesis
from das.task.task import Task

MOST_VALUES = 20
"""Shares per value are given for columns with no more distinct values than this."""


BY_MODEL = "variables", "same_label_as", "could_be"
"""What of a report is empty where there is no causal model."""


def audit(task: Task, name: str, pairs: Pairs, answer_tokens: NDArray[np.int64] | None = None) -> dict[str, Any]:
    """What a set of pairs can show: sizes, balance, the share that a no-op gets right, and for each other hypothesis the
    share of pairs on which it gives the same label (1 means that this set cannot tell the two apart) and the largest that
    its causal model allows (see `das.pairs.identify.Claim`)."""
    hypothesis = task.hypothesis(name)
    report: dict[str, Any] = {
        "pairs": len(pairs),
        "distinct_bases": int(codes(*pairs.base.values()).max() + 1),
        "noop": None if pairs.flips is None else float(1 - pairs.flips.mean()),
        "families": _shares(pairs.family),
        "base_answers": {} if pairs.base_answer is None else _shares(pairs.base_answer),
        "answers": _shares(pairs.answer),
    }
    report["model"] = hypothesis.model.complete
    report |= _by_model(task, name, hypothesis, pairs) if hypothesis.model.complete else {part: {} for part in BY_MODEL}
    if answer_tokens is not None:
        report["answer_tokens"] = len(np.unique(answer_tokens))
    return report


def _by_model(task: Task, name: str, hypothesis: Hypothesis, pairs: Pairs) -> dict[str, Any]:
    """What takes a causal model: the variables' values, and what other hypotheses come to."""
    table, claim = hypothesis.model.run(pairs.base), examine(task, name, pairs)
    variables = {v: shares for v in hypothesis.variables if (shares := _shares(table[v]))}
    same = {other: share for other, share in claim.own.items() if other != claim.name}
    could = {other: asdict(best) | _without(claim, other) for other, best in claim.rivals.items()}
    return dict(zip(BY_MODEL, (variables, same, could), strict=True))


def _without(claim: Claim, other: str) -> dict[str, float | bool | None]:
    """What a rival allows without inputs, and without the claimed variable under another name too; whether all were tried, and
    whether it is of the claim's own causal model."""
    apart = claim.apart[other]
    left = {"computed": claim.entry(other)[1], "apart": apart.iia if apart else None, "exhausted": claim.exhausted[other]}
    return left | {"sibling": other in claim.siblings}


def _shares(column: Column) -> dict[str, float]:
    """Value → share of rows, for columns of few values."""
    code = codes(column)
    counts = np.bincount(code)
    if len(counts) > MOST_VALUES:
        return {}
    first = np.unique(code, return_index=True)[1]
    return {str(row_of({"x": column}, int(row))["x"]): float(c / len(column)) for row, c in zip(first, counts, strict=True)}


def audit_text(name: str, report: Mapping[str, Any]) -> str:
    """The audit as a few lines for the console."""

    def shares(table: Mapping[str, float]) -> str:
        return ", ".join(f"{value} {share:.2f}" for value, share in table.items()) or "many values"

    noop = "" if report["noop"] is None else f"; no-op right on {report['noop']:.2f}"
    lines = [f"{name}: {report['pairs']} pairs on {report['distinct_bases']} bases{noop}"]
    lines.append(f"  answers: {shares(report['answers'])}")
    lines += [f"  {variable}: {shares(table)}" for variable, table in report["variables"].items()]
    for other, same in report["same_label_as"].items():
        lines.append(f"  {'CANNOT be told from' if same == 1 else 'same label as'} {other} on {same:.2f}")
    if rivals := {other: best for other, best in report["could_be"].items() if not best["sibling"]}:
        other, worst = max(rivals.items(), key=lambda item: (item[1]["iia"], item[1]["computed"]))
        through = f"through {way_text(worst['through'])}; {worst['computed']:.2f} without inputs"
        more = "" if worst["exhausted"] else " or more (not every set of variables was tried)"
        lines.append(f"  IIA could come to {worst['iia']:.2f}{more} if {other} were true: {through}")
    return "\n".join(lines)
