"""Tracing: a subspace back to the entries of the vectors that it lies in, and to the heads and tokens that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from das.interchange.geometry import aligned, beside, participation, shares
from das.interchange.subspace import Subspace
from das.network.lm import LM
from das.network.site import BY_HEAD, Site, parse_component

ENTRY = {"mlp_neurons": "neuron"}
"""What an entry of a component's vectors is called, where it is no mere dimension."""


@dataclass(frozen=True)
class Trace:
    """entries: a row per variable and entry of the site's vectors, with its `share` of the subspace (the projector's diagonal
    over the rank). units: the same by head, and by token where the site has several; empty where an entry is all there is.
    spread: a row per variable and figure, `found` beside `mean`, `low` and `high` of random subspaces (95 %)."""

    entries: pd.DataFrame = field(default_factory=pd.DataFrame)
    units: pd.DataFrame = field(default_factory=pd.DataFrame)
    spread: pd.DataFrame = field(default_factory=pd.DataFrame)


def trace(lm: LM, site: Site, subspace: Subspace, variables: Sequence[str]) -> Trace:
    """Of the columns of each variable that are swapped."""
    d, entries, grouped, spread = len(subspace.basis), list[Row](), list[Row](), list[Row]()
    names, units = entry_names(lm, site, d), _units(lm, site, d)
    for i, variable in enumerate(variables):
        columns, of = subspace.columns(i), {"variable": variable}
        if columns.shape[1]:
            own = shares(columns)
            entries += [of | {"entry": name, "share": share} for name, share in zip(names, own.tolist(), strict=True)]
            spread += [of | row for row in _spread(columns, units)]
        if columns.shape[1] and units:
            named = zip(dict.fromkeys(units), _by_unit(units)(own).tolist(), strict=True)
            grouped += [of | {"unit": name, "share": share} for name, share in named]
    return Trace(_largest_first(entries), _largest_first(grouped), pd.DataFrame(spread))


Row = dict[str, Any]


def _largest_first(rows: list[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    return frame.sort_values("share", ascending=False, kind="stable").reset_index(drop=True) if rows else frame


def _spread(columns: Tensor, units: Sequence[str]) -> Iterator[Row]:
    rank = columns.shape[1]
    largest = f"its {rank} largest entries" if rank > 1 else "its largest entry"
    yield {"figure": "entries that it is spread over"} | asdict(beside(columns, participation))
    yield {"figure": f"share of {largest}"} | asdict(beside(columns, partial(aligned, rank=rank)))
    if units:
        summed = _by_unit(units)
        yield {"figure": "units that it is spread over"} | asdict(beside(columns, lambda parts: participation(summed(parts))))


def _by_unit(units: Sequence[str]) -> Callable[[Tensor], Tensor]:
    """Sums shares (…, d) by unit, (…, units)."""
    code = torch.tensor([list(dict.fromkeys(units)).index(unit) for unit in units])
    member = torch.nn.functional.one_hot(code).float()
    return lambda parts: parts @ member


def entry_names(lm: LM, site: Site, d: int) -> list[str]:
    """What each entry of a site's vectors is called."""
    size = lm.size(*site.spot)
    word = ENTRY.get(site.component, "dimension")
    return [f"{_token(i // size, d // size)}{word} {i % size}" for i in range(d)]


def _token(token: int, tokens: int) -> str:
    return f"token {token + 1} of {tokens}, " if tokens > 1 else ""


def _units(lm: LM, site: Site, d: int) -> list[str]:
    """The unit that each entry belongs to; none where an entry is all there is."""
    size, parsed = lm.size(*site.spot), parse_component(site.component)
    tokens = d // size
    if parsed and parsed[0] in BY_HEAD and parsed[1] is None:
        head = lm.size(f"{parsed[0]}.0", site.places[0].layer)
        return [f"{_token(i // size, tokens)}head {i % size // head}" for i in range(d)]
    return [f"token {i // size + 1} of {tokens}" for i in range(d)] if tokens > 1 else []
