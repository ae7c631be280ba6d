"""Dead: sites where no swap of a subspace can change an answer, so that nothing is to be found there.

A whole-vector swap that changes no answer is not enough: of two parts that undo each other, one by itself may. What a subspace
swaps is a projection of the difference Δ of source and base, and projections of Δ, whatever the subspace, lie on the sphere
around Δ/2 that goes through 0 and Δ. So at several points of this ball it is measured how far an answer's lead has moved, and
how far it can move in the ball by the slope there. Where that is at most a `SHARE` of every answer's lead, the site is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from das.find.sites import SITE, sites_of
from das.interchange.batch import Batch, Swap, batches
from das.interchange.engine import Engine
from das.interchange.score import captures_for
from das.network.columns import staged
from das.network.site import Site
from das.pairs.dataset import Dataset

SHARE = 0.1
"""Of an answer's lead: so far a swap may move it at a dead site. What it is short of 1 stands for what a slope does not see,
and for pairs with a smaller lead than those that are looked at."""

PAIRS = 256
"""Pairs per hypothesis that are looked at; a site that is not dead is left at the first that shows it."""

FLOAT = 16
"""Roundings of the network's numbers that a difference of logits may be off by."""


def bounds(
    engine: Engine, data: Dataset, hypotheses: Sequence[str], sites: Sequence[Site], pairs: int = PAIRS, rows: int = 16,
    progress: Callable[[float], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A row per hypothesis and site, from at most `pairs` pairs of each hypothesis, `rows` of them at once. `reach`: the most,
    over pairs, that a swap of any subspace can move an answer's lead (see `das.interchange.reply.Reply.lead`), as a share
    of that lead.

    Of a pair this is the largest over points x, less rounding, of the larger of |lead(x) − lead(0)| and the most in the ball
    to first order, |lead(x) + g · (Δ/2 − x) − lead(0)| + |g| · |Δ|/2, with the gradient g at x. The points: 0, Δ/2, each
    variable's whole difference, and two swaps of half the entries, drawn at random, which together are the whole. With several
    variables Δ is the sum of their differences and |Δ| that of their lengths.
    A site above `SHARE` for one hypothesis is looked at no further: its `reach` may be too small, and there may be none of
    other hypotheses. One where the network may reach a place from another has no such bound, and none.
    """
    drawn = {name: np.random.default_rng(0).permutation(len(data.pairs[name]))[:pairs] for name in hypotheses}
    found: dict[tuple[str, Site], float] = {}
    left = [site for site in sites if not staged(engine.lm, site)]
    for done, batch in batches(data, captures_for(engine, data, sites), drawn, rows):
        left = [site for site in left if _within(engine, batch, site, found)]
        if progress:
            progress(done if left else 1.0)
        if not left:
            break
    far = [{"hypothesis": name, **asdict(site), "reach": reach} for (name, site), reach in found.items()]
    return pd.DataFrame(far, columns=["hypothesis", *SITE, "reach"])


def _within(engine: Engine, batch: Batch, site: Site, found: dict[tuple[str, Site], float]) -> bool:
    """Whether a site stays within `SHARE` on a batch; notes in `found` how far it reaches there, up to the first hypothesis for
    which it does not."""
    for name in batch.pairs:
        found[name, site] = max(found.get((name, site), 0.0), _reach(engine, batch, name, site))
        if found[name, site] > SHARE:
            return False
    return True


def mark(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `bounds` with the columns `dead`, `trained` and `reason`, in words; an infinite reach where there is none.

    A site is dead where it is for every hypothesis: cells at one site are run together, and those of the other hypotheses are
    to come out as they would. If all sites are, the one of the largest reach is not: every hypothesis is to have a cell.
    """
    table = table.fillna({"reach": np.inf})
    most = table.groupby(SITE, sort=False)["reach"].transform("max")
    dead = most <= SHARE
    if dead.all():
        sites = sites_of(table)
        farthest = sites[int(most.to_numpy().argmax())]
        dead &= np.array([site != farthest for site in sites])
    reasons = [_reason(*row) for row in zip(dead, table["reach"], strict=True)]
    return table.assign(dead=dead, trained=~dead, reason=reasons)


def _reason(dead: bool, far: float) -> str:
    return f"dead: a swap moves no answer's lead by more than {far:.1%}" if dead else ""


def told(table: pd.DataFrame, sites: int) -> list[str]:
    """What of a grid of so many sites is dead, in a line; none where nothing is. table: of the sites that are not trained."""
    dead = len(table[table["dead"]][SITE].drop_duplicates())
    return [f"{dead} of {sites} sites are dead, no swap there can change an answer: not trained"] if dead else []


def _reach(engine: Engine, batch: Batch, name: str, site: Site) -> float:
    """Of a site on the pairs of a batch."""
    swap = batch.swap(name, site)
    points, radius = _points(swap)
    leads, slopes, rounding = _leads(engine, batch, name, site, swap, points)
    middle = leads + (slopes * (points[1] - points)).sum(2)
    far = torch.maximum((leads - leads[0]).abs(), (middle - leads[0]).abs() + slopes.norm(dim=2) * radius)
    share = (far.amax(0) - rounding).clamp(min=0) / leads[0].abs().clamp(min=rounding)
    return float(share.nan_to_num(nan=torch.inf).max())


def _points(swap: Swap) -> tuple[Tensor, Tensor]:
    """Changes of a site's values at which its answers are looked at, (points, rows, d): none, the middle of the ball, and
    others in it; and the ball's radius, (rows,)."""
    each = (swap.source - swap.base).float()
    whole, size = each.sum(0), each.shape[2]
    half = torch.zeros(size, device=each.device)
    half[torch.randperm(size, generator=torch.Generator().manual_seed(0))[: size // 2]] = 1
    points = torch.stack([torch.zeros_like(whole), whole / 2, *each, half * whole, (1 - half) * whole])
    return points, each.norm(dim=2).sum(0) / 2


def _leads(
    engine: Engine, batch: Batch, name: str, site: Site, swap: Swap, points: Tensor
) -> tuple[Tensor, Tensor, float]:  # fmt: skip
    """The answers' leads at changes, (points, rows), their gradients, (points, rows, d), and what rounding a lead may have."""
    leads, slopes, largest = [], [], 0.0
    for share in batch.shares(engine, site, {name: len(points)}):
        some = points[share[name]].clone().requires_grad_()
        reply = batch.reply(engine, site, {name: swap}, [some])
        lead = reply.lead()
        (slope,) = torch.autograd.grad(lead.sum(), some)
        leads.append(lead.detach().float())
        slopes.append(slope)
        largest = max(largest, float(reply.logits.detach().abs().max()))
    return torch.cat(leads), torch.cat(slopes), FLOAT * torch.finfo(engine.lm.dtype).eps * max(largest, 1e-30)
