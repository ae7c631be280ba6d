"""Failures: where an alignment fails, named by the values that the causal model's variables take in the runs of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from das.causal.columns import Column, Columns, checked, codes, differ
from das.causal.model import CausalModel
from das.judge.scan import worst
from das.pairs.families import Mask
from das.pairs.pairs import Pairs
from das.task.hypothesis import Hypothesis

FEW, WORDS = 6, 33
"""Up to so many numbers stand for themselves, more are cut at quantiles; a table of more words than that is no map to read."""

QUARTERS, EIGHTHS, NEAR = [0.25, 0.5, 0.75], [i / 8 for i in range(1, 8)], [i / 32 for i in (1, 2, 3, 4, 6, 8, 12, 16)]

SMALLEST, LEAST, MOST_FACTS = 0.03, 20, 1000
"""A group holds at least this share of the pairs and so many of them; how many facts are tried."""


@dataclass(frozen=True)
class Group:
    """Pairs that fail more than the others. share: of all pairs; failures: the part of all failures that lies in it.

    rest: groups were named before it; its numbers are of pairs that are in none of those, so that groups never overlap.
    """

    conditions: str
    pairs: int
    share: float
    iia: float
    failures: float
    rest: bool = False

    def text(self) -> str:
        """`base |upper − amount| ≤ 0.47: IIA 0.21 on 91 pairs (9% of all), with 84% of the failures`."""
        size = f"{self.pairs:,}{' other' if self.rest else ''} pairs ({self.share:.0%} of all)"
        return f"{self.conditions}: IIA {self.iia:.2f} on {size}, with {self.failures:.0%} of the failures"


def failing_groups(hypothesis: Hypothesis, pairs: Pairs, hits: ArrayLike, most: int = 3) -> list[Group]:
    """The groups of pairs, up to `most`, that explain the failures best, each named by one or two facts; the best first.

    hits: (pairs,), whether the intervention gave the label, or the mean over seeds. A fact: a variable has a value or lies in
    a range, differs from what it is in the base run, or two numbers are so far apart; in the base run, a source's or the
    counterfactual one. What explains best is what gains most log-likelihood when it has a failure rate of its own (Kulldorff
    1997, A spatial scan statistic), if its excess of failures is more than 49 in 50 permutations give among all that were
    tried. Permutations are of base prompts, then of each source's, with all their pairs: what recurs by prompt is no group.
    """
    failed = 1 - checked(np.asarray(hits, float), len(pairs), "the hits")
    smallest, left = max(LEAST, SMALLEST * len(pairs)), np.ones(len(pairs), bool)
    names, table = _facts(hypothesis, pairs, smallest)
    prompts = [_prompt_codes(columns) for columns in (pairs.base, *pairs.sources.values())]
    groups: list[Group] = []
    while names and len(groups) < most:
        found = worst(table[:, left], failed[left], smallest, [code[left] for code in prompts])
        if not found:
            break
        rows = left & table[found].all(0)
        n, share = int(rows.sum()), float(failed[rows].sum() / failed.sum())
        text = ", ".join(names[at] for at in found)
        groups.append(Group(text, n, n / len(pairs), 1 - float(failed[rows].mean()), share, bool(groups)))
        left &= ~rows
    return groups


def _prompt_codes(columns: Columns) -> NDArray[np.int64]:
    """A number for each pair's prompt, equal for equal ones. (pairs,)"""
    each = [codes(column) for column in columns.values()]
    return np.unique(np.stack(each), axis=1, return_inverse=True)[1].reshape(-1)


# --- facts about pairs ---


def _facts(hypothesis: Hypothesis, pairs: Pairs, smallest: float) -> tuple[list[str], NDArray[np.float32]]:
    """What they say, and (facts, pairs): where they hold. None that holds for few pairs, and of equal ones the first."""
    found: dict[bytes, tuple[str, Mask]] = {}
    for text, holds in _all_facts(hypothesis.model, _runs(hypothesis, pairs)):
        if smallest <= holds.sum() < len(pairs) and len(found) < MOST_FACTS:
            found.setdefault(holds.tobytes(), (text, holds))
    return [text for text, _ in found.values()], np.array([holds for _, holds in found.values()], np.float32)


def _all_facts(model: CausalModel, runs: dict[str, Columns]) -> Iterator[tuple[str, Mask]]:
    for run, columns in runs.items():
        for name, column in columns.items():
            yield from _ranges(f"{run} {name}", column, EIGHTHS)
    for run, columns in list(runs.items())[1:]:
        for name, column in columns.items():
            other = differ(runs["base"][name], column)
            yield from ((f"{run} {name} = base {name}", ~other), (f"{run} {name} ≠ base {name}", other))
    for run, columns in runs.items():
        for name, gap in _gaps(model, columns):
            for limit in np.quantile(gap, NEAR, method="inverted_cdf"):
                near = gap <= limit
                yield from ((f"{run} {name} ≤ {_number(limit)}", near), (f"{run} {name} > {_number(limit)}", ~near))


def _runs(hypothesis: Hypothesis, pairs: Pairs) -> dict[str, Columns]:
    """Every variable in the base run, in each source's and in the counterfactual one; vectors of numbers by component."""
    model, several = hypothesis.model, len(pairs.sources) > 1
    sources = {f"{name}'s source" if several else "source": model.run(source) for name, source in pairs.sources.items()}
    runs = {"base": model.run(pairs.base), **sources, "counterfactual": model.interchange(pairs.base, pairs.sources)}
    return {run: dict(_parts(columns)) for run, columns in runs.items()}


def _parts(columns: Columns) -> Iterator[tuple[str, Column]]:
    for name, column in columns.items():
        if column.ndim == 1:
            yield name, column
        elif column.ndim == 2 and column.dtype.kind in "biuf":
            yield from ((f"{name}[{i}]", part) for i, part in enumerate(column.T))


def _gaps(model: CausalModel, columns: Columns) -> Iterator[tuple[str, Column]]:
    """How far apart numbers are that are both inputs, or that the same mechanism takes."""
    for together in (model.inputs.names, *map(model.parents, model.variables)):
        numbers = [name for name in columns if name.split("[")[0] in together and _numeric(columns[name])]
        for one, other in combinations(numbers, 2):
            yield f"|{one} − {other}|", np.abs(columns[one].astype(float) - columns[other])


def _numeric(column: Column) -> bool:
    return column.dtype.kind in "iuf" and bool(np.isfinite(column).all())


def _levels(column: Column, quantiles: Sequence[float]) -> NDArray[np.int64]:
    """Equal levels for equal values or, where they are many numbers, for numbers between the same quantiles."""
    if _numeric(column) and len(np.unique(column)) > FEW:
        column = np.searchsorted(np.unique(np.quantile(column.astype(float), quantiles, method="inverted_cdf")), column)
    return codes(column)


def _ranges(name: str, column: Column, quantiles: Sequence[float]) -> Iterator[tuple[str, Mask]]:
    """Where the column has each value or, of numbers, lies in each range of levels."""
    level = _levels(column, quantiles)
    last = int(level.max())
    for low in range(last + 1):
        for high in range(low, last + 1 if _numeric(column) else low + 1):
            inside = (low <= level) & (level <= high)
            yield f"{name} {_range(column[inside], low == 0, high == last)}", inside


def _range(values: Column, lowest: bool, highest: bool) -> str:
    """`= x`, `≤ x`, `≥ x` or `from x to y`."""
    if not _numeric(values):
        return f"= {values[0]}"
    low, high = _number(values.min()), _number(values.max())
    return f"= {low}" if low == high else f"≤ {high}" if lowest else f"≥ {low}" if highest else f"from {low} to {high}"


def _number(value: Any) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.4g}"


# --- the map, and the network's own answers ---


def value_table(hypothesis: Hypothesis, pairs: Pairs, hits: ArrayLike) -> list[dict[str, Any]]:
    """IIA by each variable's value, or the quarter it is in, in the base × in the source run; values in their order.

    A row: `swapped` (the aligned variable whose source it is), `variable`, `base`, `source` (the values), `pairs`, `iia`. Only
    pairs that swap that variable count; values that never meet have no row, nor have variables with too many words.
    """
    hit = checked(np.asarray(hits, float), len(pairs), "the hits")
    base, *sources, _ = _runs(hypothesis, pairs).values()
    rows = []
    for swapped, variable, source in zip(pairs.swapped.T, pairs.sources, sources, strict=True):
        for name in base if swapped.any() else ():
            cells = _cells(base[name][swapped], source[name][swapped], hit[swapped])
            rows += [{"swapped": variable, "variable": name} | cell for cell in cells]
    return rows


def _cells(base: Column, source: Column, hit: NDArray[Any]) -> Iterator[dict[str, Any]]:
    both = np.concatenate([base, source])
    level = _levels(both, QUARTERS)
    last = int(level.max())
    names = [_range(both[level == at], at == 0, at == last) for at in range(last + 1)]
    for one, other in np.ndindex(last + 1, last + 1) if _numeric(both) or last < WORDS else ():
        here = (level[: len(base)] == one) & (level[len(base) :] == other)
        if here.any():
            yield {"base": names[one], "source": names[other], "pairs": int(here.sum()), "iia": float(hit[here].mean())}


def splits(correct_base: ArrayLike, correct_source: ArrayLike, hits: ArrayLike) -> dict[str, dict[str, Any]]:
    """IIA where the LM answers base and source correctly (`correct`) and elsewhere (`incorrect`): `pairs`, and `iia`, None
    where there are none. correct_source: (pairs,), or (pairs, variables) for several sources."""
    hit = np.asarray(hits, float)
    both = np.asarray(correct_base, bool) & np.atleast_2d(np.asarray(correct_source, bool).T).all(0)
    parts = {"correct": hit[both], "incorrect": hit[~both]}
    return {name: {"pairs": len(part), "iia": float(part.mean()) if len(part) else None} for name, part in parts.items()}
