"""Angles: how near alignments lie to each other, of several seeds, layers or hypotheses, beside random subspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations_with_replacement
from typing import Any

import pandas as pd
import torch

from das.errors import DasError
from das.find.alignment import Alignment
from das.find.kinds import kind_name
from das.interchange.geometry import angles, overlap
from das.interchange.units import subspace_of

STREAM = "block_output", "attention_output", "mlp_output"
"""Components whose vectors are of the same space in all layers: that of the hidden state."""


def space(alignment: Alignment) -> tuple[Any, ...] | None:
    """What two alignments must have in common to be compared: the space that their columns lie in; None for a feature without
    columns."""
    subspace, site = subspace_of(alignment.feature), alignment.cell.site
    if subspace is None or not subspace.size:
        return None
    return (len(subspace.basis), *(("hidden state",) if site.component in STREAM else site.spots))


def overlaps(alignments: Sequence[Alignment]) -> pd.DataFrame:
    """A row per pair of alignments, and of each with itself, whose columns lie in one space: `overlap`, the mean squared cosine
    of the principal angles, with the `mean`, `low` and `high` of random subspaces of the same ranks (95 %), and the
    `mean_angle`, `smallest_angle` and `largest_angle` in degrees. All variables of an alignment together.

    DasError where some do not lie in the space of the first.
    """
    for a in alignments:
        if space(a) is None:
            raise DasError(f"{a.cell.id} is no subspace with columns: it has no angles to others")
        if space(a) != space(alignments[0]):
            raise DasError(
                f"{a.cell.id} and {alignments[0].cell.id} lie in different spaces ({_words(a)} and {_words(alignments[0])}): "
                "their columns cannot be compared"
            )
    names = labels(alignments)
    every = list(zip(names, alignments, [_columns(a) for a in alignments], strict=True))
    return pd.DataFrame([_row(one, other) for one, other in combinations_with_replacement(every, 2)])


def _words(a: Alignment) -> str:
    d, *where = space(a) or (0,)
    return f"{' '.join(map(str, where))}, {d} entries"


def _columns(a: Alignment) -> torch.Tensor:
    subspace = subspace_of(a.feature)
    assert subspace is not None
    return torch.cat([subspace.columns(i) for i in range(subspace.variables)], 1)


def _row(one: tuple[str, Alignment, torch.Tensor], other: tuple[str, Alignment, torch.Tensor]) -> dict[str, Any]:
    (name, a, first), (beside, b, second) = one, other
    found, between = asdict(overlap(first, second)), angles(first, second)
    degrees = {"mean_angle": between.mean(), "smallest_angle": between[0], "largest_angle": between[-1]}
    return {
        "one": name, "other": beside, "cell": a.cell.id, "other_cell": b.cell.id, "rank": first.shape[1],
        "other_rank": second.shape[1], "overlap": found.pop("found"), **found, **{k: float(v) for k, v in degrees.items()},
    }  # fmt: skip


def labels(alignments: Sequence[Alignment]) -> list[str]:
    """A short name for each: what they do not all have in common."""
    parts = [
        [c.hypothesis, f"layer {c.site.layer}", c.site.component, c.site.position, kind_name(c.kind), f"seed {c.seed}"]
        for c in (a.cell for a in alignments)
    ]
    told = [i for i, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1] or [0]
    return [", ".join(row[i] for i in told) for row in parts]
