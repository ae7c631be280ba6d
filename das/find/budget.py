"""Budget: which sites of a grid are trained when not all of them may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from math import inf, isfinite
from typing import Any

import pandas as pd

from das.find.sites import sites_of
from das.interchange.engine import Engine, HookEngine
from das.network.site import Site
from das.pairs.dataset import Dataset


def cost(engine: Engine, data: Dataset, site: Site) -> int:
    """Layers × tokens that the engine re-runs for one swap at the site; where no layer lies above it counts as one."""
    width = data.prompts.width
    if isinstance(engine, HookEngine):
        return engine.lm.layers * width
    return max(1, engine.lm.layers - site.entry) * (width - data.first([site]))


def spend(table: pd.DataFrame, budget: float) -> pd.DataFrame:
    """What becomes of the sites in a table of `das.find.screen.screen`, or of a trace (`das.run.by_trace`), with a column
    `cost`: adds to it `rank` (1 for the best site of a hypothesis), `trained` and `reason`, in words. Where it says which sites
    are dead (see `das.find.dead.mark`), these come last, are not trained and keep their reason.

    Hypotheses take turns, each with the best of its sites that are left, until `budget`, a share of the sum of all costs,
    is spent: one whose next site would overdraw it takes no more. The first site of each is taken in any case.
    """
    dead = table["dead"] if "dead" in table else pd.Series(False, table.index)
    ranks = table["score"].mask(dead, -inf).groupby(table["hypothesis"]).rank(method="first", ascending=False)
    table = table.assign(rank=ranks.astype(int), dead=dead)
    turns = table[~dead].sort_values("rank", kind="stable").to_dict("index")
    table["trained"] = table.index.isin(list(_take(turns, budget * float(table["cost"].sum()))))
    ends, sizes = Counter(table["hypothesis"][table["trained"]]), Counter(table["hypothesis"])
    table["reason"] = [_reason(row, ends[row["hypothesis"]], sizes[row["hypothesis"]]) for row in table.to_dict("records")]
    return table


def _take(turns: Mapping[Hashable, Any], limit: float) -> Iterator[Hashable]:
    """The keys of those rows, given in the order in which they are asked for, that are trained."""
    spent, closed = 0.0, set()
    for key, row in turns.items():
        if row["rank"] > 1 and (row["hypothesis"] in closed or spent + row["cost"] > limit * (1 + 1e-9)):
            closed.add(row["hypothesis"])
            continue
        spent += row["cost"]
        yield key


def _reason(row: Mapping[Any, Any], end: int, size: int) -> str:
    if row["dead"]:
        return str(row["reason"])
    skipped = "" if row["trained"] else f", budget ends at {end}"
    return f"{_effect(row)}; {ordinal(row['rank'])} of {size}{skipped}"


def _effect(row: Mapping[Any, Any]) -> str:
    """What ranks a site, by what its table says: a trace's has what was brought back there."""
    return _restored(row) if "recovered" in row else _moved(row)


def _restored(row: Mapping[Any, Any]) -> str:
    window = f" with a window of {row['window']} layers" if row["window"] > 1 else ""
    share = f" ({row['recovered']:.2f} of what was lost)" if isfinite(row["recovered"]) else ""
    return f"its {row['kind']} put back{window} brings back {row['effect']:.2f} of the clean answer's probability{share}"


def _moved(row: Mapping[Any, Any]) -> str:
    first_order = f"{row['attribution']:.2f} to first order"
    return f"swap moves the answer by {row['move']:.2f} logits ({first_order}), score {row['score']:.2f}"


def outline(table: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """What `spend` decided, a line per hypothesis; none where there was no budget. names: what hypotheses are called."""
    if "rank" not in table:
        return []
    return [_line(names[str(name)], mine.sort_values("rank")) for name, mine in table.groupby("hypothesis", sort=False)]


def _line(name: str, mine: pd.DataFrame) -> str:
    skipped = mine[~mine["trained"] & ~mine["dead"]]
    text = f"{name}: budget trains {mine['trained'].sum()} of {len(mine)} sites"
    if skipped.empty:
        return text
    best = skipped.to_dict("records")[0]
    swapped = f", flips {best['flips']:.0%}, IIA {best['whole']:.2f}" if "whole" in best else ""
    return f"{text}, skips {len(skipped)}; the best skipped, {sites_of(skipped)[0]}: {_effect(best)}{swapped}"


def ordinal(n: int) -> str:
    """
    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 41, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '41st', '113th']
    """
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"
