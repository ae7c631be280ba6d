"""Roles: what an attention head does, named by a written rule.

A head has every role whose rule holds; the figures that it rests on stand beside it.

1. *previous token*: on random tokens at least `ATTENDS` of its attention goes to the token before.
2. *induction*: on random tokens that are said twice at least `ATTENDS` goes from a token's second mention to what followed its
   first (Olsson et al. 2022, arXiv 2209.11895).
3. *mover*: from the token that answers it attends to the subject, and not to the relation, and what it writes raises the right
   answer over the other one: the interval lies above 0, and the mean is `WRITES` of the whole logit difference or more.
   *negative mover*: it lowers it as much (both after Wang et al. 2023, arXiv 2211.00593).
4. *relation*: it attends to the relation, and not to the subject.
5. *mixture*: it attends to either (4 and 5 after Yao et al. 2024, arXiv 2405.17969).

It attends to subject or relation (see `das.circuits.regions`) where `ATTENDS` more of its attention goes there than if it were
spread evenly over the prompt. A head that attends to the subject and writes nothing to the logits has no role here: what it
hands on, and to whom, a circuit says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from das.circuits.heads import Floats, Looked
from das.circuits.regions import REGIONS
from das.stats import Bootstrap, quantiles

ATTENDS, WRITES = 0.3, 0.02

ROLES = ("previous token", "induction", "mover", "negative mover", "relation", "mixture")


def strength(table: pd.DataFrame, role: str) -> pd.Series[float]:
    """By head the figure that a role rests on. table: see `head_table`."""
    if role == "mixture":
        return table[["subject", "relation"]].min(axis=1)
    figure = {"previous token": "previous", "mover": "writes", "negative mover": "writes"}.get(role, role)
    return table[figure].abs()


def roles(row: Mapping[str, float]) -> Iterator[str]:
    """Of a head, by the module's rule. row: see `head_table`."""
    if row["previous"] >= ATTENDS:
        yield "previous token"
    if row["induction"] >= ATTENDS:
        yield "induction"
    subject, relation = (row[name] - row[f"{name}_even"] >= ATTENDS for name in ("subject", "relation"))
    if subject and relation:
        yield "mixture"
    elif relation:
        yield "relation"
    elif subject and row["writes_low"] > 0 and row["writes"] >= WRITES * row["difference"]:
        yield "mover"
    elif subject and row["writes_high"] < 0 and -row["writes"] >= WRITES * row["difference"]:
        yield "negative mover"


def head_table(found: Looked, before: Floats, induced: Floats, shared: Bootstrap) -> pd.DataFrame:
    """A row for each head: what it `writes` to the logit difference, a mean over prompts with its 95 % interval (`_low`,
    `_high`; no number where nobody knows); the mean share of attention from the last token to each of `REGIONS`, and to
    subject and relation if it were spread evenly (`_even`); its scores on random tokens, `previous` and `induction`; the whole
    logit `difference`, a mean; and its `role`, several joined by +, or none.

    before, induced: (layers, heads), see `das.circuits.heads.repeating`. shared: of the prompts."""
    rows, whole, even = [], float(found.difference.mean()), dict(zip(REGIONS, found.even.mean(0).tolist(), strict=True))
    for layer, head in np.ndindex(before.shape):
        row = {"layer": layer, "head": head, **_written(found, layer, head, shared)}
        row |= zip(REGIONS, map(float, found.looks[:, layer, head].mean(0)), strict=True)
        row |= {"subject_even": even["subject"], "relation_even": even["relation"]}
        row |= {"previous": float(before[layer, head]), "induction": float(induced[layer, head]), "difference": whole}
        rows.append(row | {"role": " + ".join(roles(row))})
    return pd.DataFrame(rows)


def _written(found: Looked, layer: int, head: int, shared: Bootstrap) -> dict[str, float]:
    if found.writes is None:
        return dict.fromkeys(("writes", "writes_low", "writes_high"), float("nan"))
    mine = found.writes[:, layer, head]
    low, high = quantiles(shared.by_row(mine[None])[:, 0])
    return {"writes": float(mine.mean()), "writes_low": float(low), "writes_high": float(high)}
