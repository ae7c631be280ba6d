"""Claimed: the facts of a circuit and of edits, as the judge asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from das.interchange.accuracy import Accuracy
from das.judge.claimed_circuit import CircuitFacts
from das.judge.claimed_edit import KEPT, EditFacts
from das.judge.claims import Share
from das.text import count
from das.use.circuit_search import NETWORK, RANDOM, UNTRAINED
from das.use.editor import METHODS

LITTLE = 0.005
"""An edge's loss below which it is worth little, as a share of the logit difference."""

NULLS = {"tuned": "fine-tuning of the same matrix", "none": "no edit"}
"""Ways to edit that others are held against."""

EDITS = {
    "rome": "ROME edit of layer {}, {}",
    "twin": "value added at the subject in layer {}, {}",
    "direction": "mean difference added at the subject in layer {}, {}",
}
"""Ways to edit that claim something."""

ALONE = "twin", "direction"
"""Those that act where the subject stands and nowhere else."""


# --- circuits ---


def circuit_facts(about: Mapping[str, Any], test: pd.DataFrame, kept: pd.DataFrame) -> CircuitFacts:
    """about, test, kept: see `das.use.circuit.Circuit`."""
    rows = {str(kind): list(map(_both, some.to_dict("records"))) for kind, some in test.groupby("kind")}
    ((faithfulness, completeness),) = rows[NETWORK]
    best = {kind: max(rows[kind], key=lambda both: both[0].share) for kind in (RANDOM, UNTRAINED) if kind in rows}
    named = {RANDOM: f"best of {len(rows.get(RANDOM, ()))} random circuits", UNTRAINED: "best edges of an untrained network"}
    known = about["accuracy"]
    return CircuitFacts(
        about["hypothesis"], len(kept), about["edges"], faithfulness, completeness,
        accuracy=Accuracy(**known) if known else None,
        nulls={named[kind]: both for kind, both in best.items()},
        rivals=about["rivals"], changed=about["changed"], losses=_losses(kept["loss"].to_numpy()), swap=about["swap"],
    )  # fmt: skip


def _both(row: Mapping[Any, Any]) -> tuple[Share, Share]:
    """Faithfulness and completeness of a circuit. With everything swapped no answer stays, with nothing swapped none comes."""
    faithful, complete = (
        Share(name, row[name], row[f"{name}_low"], row[f"{name}_high"], 0.0) for name in ("faithfulness", "completeness")
    )
    return faithful, complete


def _losses(losses: Any) -> tuple[Share, ...]:
    """What cutting single edges costs; nothing where it was not tried."""
    if not len(losses) or np.isnan(losses).any():
        return ()
    most, little = float(losses.max()), float((losses < LITTLE).mean())
    return Share("lost with the costliest edge", most), Share("edges of little worth", little)


# --- edits ---


def edit_facts(about: Mapping[str, Any], shares: pd.DataFrame) -> list[EditFacts]:
    """Of each way to edit that claims something, at each layer. about: see `das.use.editing.Edited`; shares: by method and
    layer, see `das.judge.outcomes.shares`."""
    found: dict[Any, Any] = {key: _outcomes(some) for key, some in shares.groupby(["method", "layer"])}
    facts = count(len(about["moves"]), "facts")
    return [
        EditFacts(
            about["hypothesis"], EDITS[method].format(layer, facts), found.get((method, layer), {}), about["known"],
            method in ALONE, {name: found[null, layer] for null, name in NULLS.items() if (null, layer) in found},
        )
        for method in METHODS if method in EDITS and method in about["methods"]
        for layer in about["layers"]
    ]  # fmt: skip


def _outcomes(rows: pd.DataFrame) -> dict[str, Share]:
    """Outcome → its share; before an edit those that should change come in no question that was asked, the others in all."""
    return {
        row["outcome"]: Share(row["outcome"], row["share"], row["low"], row["high"], float(row["outcome"] in KEPT))
        for row in rows.to_dict("records")
    }
