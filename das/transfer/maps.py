"""Maps: IIA over the sites of a grid, here against there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from das.find.sites import SITE
from das.stats import Bootstrap, Floats, correlation, quantiles
from das.transfer.scored import Scored

DRAWS = 500
"""Of prompts, for the intervals of correlations."""


def site_map(scored: Scored, hypothesis: str, subspace: str, metric: str = "iia", over: str = "mean") -> pd.Series[float]:
    """Site → a metric, over seeds their `mean` or their `max`."""
    found: pd.Series[float] = scored.at(hypothesis, subspace).groupby(SITE)[metric].agg(over)
    return found


def together(one: pd.Series[float], other: pd.Series[float]) -> tuple[float, list[Any]]:
    """Pearson's correlation of two maps over the sites that both have, nan below three; and these sites."""
    both = pd.concat([one, other], axis=1, join="inner").dropna()
    if len(both) < 3:
        return float("nan"), list(both.index)
    values = both.to_numpy()
    return float(correlation(values[:, 0], values[:, 1])), list(both.index)


def correlated(home: Scored, away: Scored, hypothesis: str, subspace: str) -> dict[str, float]:
    """The correlation of a hypothesis' two maps, with its 95 % interval over prompts (not over sites or seeds).

    Prompts are drawn anew in Fisher's scale around the correlation that there is: each draw adds noise to both maps and so
    lowers their correlation, which says nothing of the maps. Pairs that are the same at both are drawn together.
    """
    r, sites = together(site_map(home, hypothesis, subspace), site_map(away, hypothesis, subspace))
    if r != r:
        return dict.fromkeys(["correlation", "correlation_low", "correlation_high"], r)
    same = np.array_equal(home.prompts[hypothesis], away.prompts[hypothesis])
    drawn = [_drawn(scored, hypothesis, subspace, sites, seed) for scored, seed in ((home, 0), (away, int(not same)))]
    z = _fisher(correlation(*drawn))
    low, high = quantiles(z - np.nanmean(z)) if np.isfinite(z).any() else (float("nan"),) * 2
    ends = min(r, float(np.tanh(_fisher(r) + low))), max(r, float(np.tanh(_fisher(r) + high)))
    return {"correlation": r, "correlation_low": ends[0], "correlation_high": ends[1]}


def _drawn(scored: Scored, hypothesis: str, subspace: str, sites: Sequence[Any], seed: int) -> Floats:
    """IIA of sites in draws of prompts, mean over seeds. (draws, sites)"""
    cells = scored.at(hypothesis, subspace)
    by_cell = Bootstrap(scored.prompts[hypothesis], DRAWS, seed).by_row(scored.stack(cells["cell"]))
    keys = list(zip(*(cells[name] for name in SITE), strict=True))
    columns: Mapping[Any, list[int]] = {site: [i for i, key in enumerate(keys) if key == site] for site in sites}
    return np.stack([by_cell[:, columns[site]].mean(1) for site in sites], -1)


def _fisher(r: Any) -> Any:
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))
