"""Lens: how likely the answer stands in a network's states, layer by layer, when its own last norm and head read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.errors import DasError
from das.interchange.captures import AT_ONCE
from das.interchange.engine import ResumeEngine
from das.interchange.score import predictions
from das.interchange.vectors import vectors
from das.network.site import Site
from das.pairs.dataset import Dataset

QUARTERS = 0.25, 0.5, 0.75


ANSWERED = "right", "wrong", "all"


def answered(engine: ResumeEngine, data: Dataset, name: str, which: str = "right") -> NDArray[np.bool_]:
    """Of a hypothesis' pairs those whose base prompt the network answers as in `ANSWERED`. DasError where there is none."""
    right = data.right(predictions(engine, data.prompts, data.answers), name, "base")
    found: NDArray[np.bool_] = {"right": right, "wrong": ~right, "all": right | ~right}[which]
    if not found.any():
        raise DasError(f"the network answers none of {len(found)} prompts {which}: there are none to follow an answer in")
    return found


def trajectory(
    engine: ResumeEngine, data: Dataset, name: str, some: NDArray[np.bool_], layers: Sequence[int], positions: Sequence[str],
    token: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A row per layer and position, over the distinct base prompts of some of a hypothesis' pairs: of a token, by default the
    first of each prompt's right answer, `probability`, its mean, and `rank` (1: the likeliest of all), its median; `_low` and
    `_high` are the quartiles over prompts; `first`, the share of prompts in which it is the likeliest; `prompts`, how many."""
    p = data.pairs[name]
    rows, at = np.unique(p.base[some], return_index=True)
    right = data.answers.spelling(p.base_label[some][at])[:, 0]
    tokens = torch.from_numpy(right if token is None else np.full_like(right, token))
    sites = [Site(layer, position) for layer in layers for position in positions]
    return pd.DataFrame([_row(site, *_read(engine, states, tokens)) for site, states in vectors(engine, data, rows, sites)])


def _read(engine: ResumeEngine, states: Tensor, token: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The probability and the rank of each row's token."""
    parts = [
        _standing(engine.lens(some).cpu(), own) for some, own in zip(states.split(AT_ONCE), token.split(AT_ONCE), strict=True)
    ]
    probability, rank = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    return probability, rank


def _standing(logits: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
    own = logits.gather(1, token[:, None])
    return own[:, 0].sub(logits.logsumexp(1)).exp(), 1 + (logits > own).sum(1)


def _row(site: Site, probability: np.ndarray, rank: np.ndarray) -> dict[str, object]:
    low, _, high = np.quantile(probability, QUARTERS)
    rank_low, middle, rank_high = np.quantile(rank, QUARTERS)
    return {
        "layer": site.layer, "position": site.position, "probability": float(probability.mean()), "probability_low": low,
        "probability_high": high, "rank": middle, "rank_low": rank_low, "rank_high": rank_high,
        "first": float((rank == 1).mean()), "prompts": len(rank),
    }  # fmt: skip
