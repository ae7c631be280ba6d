"""Families: the rules by which pairs are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, differ
from das.errors import DasError, shown, unknown
from das.ground.checks import number

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Family:
    """A rule that pairs must follow.

    accept: `accept(base_answer, answer)`, columns → which candidates to take (`answer` is the counterfactual one).
    alone: the source differs from the base in the aligned variable and in nothing that does not cause or follow from it.
    base, source: predicates over variables, by parameter name, that the base's or the source's setting must meet.
    balanced: bases in equal numbers per answer, where there are few answers; else as the prompts come.
    isolating: the swap keeps the answer, and a swap of some other variable by the same source would change it.
    apart: of many such pairs, those that tell the hypothesis from its rivals (see `das.pairs.rivals.least`).
    """

    accept: Callable[[Column, Column], Mask] | None = None
    alone: bool = False
    base: Callable[..., Any] | None = None
    source: Callable[..., Any] | None = None
    balanced: bool = True
    isolating: bool = False
    apart: bool = False


FAMILIES: dict[str, Family] = {
    "resample": Family(),
    "flip": Family(accept=differ),
    "keep": Family(accept=lambda base, answer: ~differ(base, answer)),
    "only": Family(alone=True),
    "isolate": Family(accept=lambda base, answer: ~differ(base, answer), isolating=True),
    "natural": Family(balanced=False),
    "separate": Family(apart=True),
}
"""Sources drawn freely; so that the answer flips; so that it stays; so that only the aligned variable changes; so that it
stays though another variable would change it; base and source both as the prompts come; pairs that tell the hypothesis from
its rivals.

`{flip: 0.5, isolate: 0.5}` trains for cause and isolation at once, as RAVEL's multi-task DAS does (arXiv 2402.17700)."""


def match(base: Callable[..., Any] | None = None, source: Callable[..., Any] | None = None) -> Family:
    """The family of pairs whose base and source lie in given regions, each a function of variables by parameter name."""
    return Family(base=base, source=source)


def check_families(shares: Mapping[Any, float]) -> None:
    """DasError on an unknown family, or on shares that are none."""
    if not isinstance(shares, Mapping):
        raise DasError(
            f"families is {shown(shares)}: expected a mapping from family to share, such as {{flip: 0.5, keep: 0.5}}"
        )
    for key, share in shares.items():
        if not isinstance(key, Family) and key not in FAMILIES:
            raise unknown("family of pairs", key, FAMILIES)
        number(f"the share of family {shown(key)}", share, 0, above=True)
