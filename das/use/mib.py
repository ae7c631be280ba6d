"""MIB: an alignment as a featurizer of the Mechanistic Interpretability Benchmark's causal variable track.

Three files per unit, as `Featurizer.save_modules` of the CausalAbstraction library wrote them for the benchmark (2025):
`ResidualStream(Layer-L,Token-NAME)_featurizer` and `…_inverse_featurizer`, each a torch file of the rotation (d, rank) and a
state dict, and `…_indices`, JSON, here null: all features are swapped. `torch.load` reads them, with `weights_only` too.

The benchmark's unit of layer L is the *input* of layer L, which is what layer L − 1 hands on: `block_output[3]` is its layer 4.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from das.errors import DasError, shown
from das.find.alignment import Alignment
from das.interchange.units import subspace_of

NAME = re.compile(r"[\w+-]+")


def save_mib(alignment: Alignment, folder: Path, token: str | None = None) -> str:
    """Writes a featurizer into a folder; the name of its unit. token: the benchmark's name of the position, such as
    `last_token`; by default that of `das`.

    DasError unless the alignment is a subspace of one variable in what a layer hands on.
    """
    cell, feature, subspace = alignment.cell, alignment.feature, subspace_of(alignment.feature)
    if subspace is None or feature.variables != 1 or cell.site.component != "block_output" or not feature.size:
        raise DasError(
            f"{cell.id}: a featurizer of MIB is a subspace of one variable in what a layer hands on (block_output); this is "
            f"{type(feature).__name__} of {feature.variables} variable(s) in {cell.site.component}"
        )
    name = cell.site.position if token is None else token
    if not NAME.fullmatch(name):
        raise DasError(f"token is {shown(name)}: MIB reads it from a file's name; give one of letters, digits, _, + and -")
    unit = f"ResidualStream(Layer-{cell.site.spot[1] + 1},Token-{name})"
    folder.mkdir(parents=True, exist_ok=True)
    _write(subspace.columns(0), folder, unit)
    return unit


def _write(columns: Tensor, folder: Path, unit: str) -> None:
    state = _rotation(columns).state_dict()
    info = {
        "featurizer_class": "SubspaceFeaturizerModule", "inverse_featurizer_class": "SubspaceInverseFeaturizerModule",
        "n_features": columns.shape[1],
        "additional_config": {"rotation_matrix": columns.contiguous().clone(), "requires_grad": False},
    }  # fmt: skip
    for part in ("featurizer", "inverse_featurizer"):
        torch.save({"model_info": info, "state_dict": dict(state)}, folder / f"{unit}_{part}")
    (folder / f"{unit}_indices").write_text(json.dumps(None))


def _rotation(columns: Tensor) -> nn.Module:
    """The module whose state their modules load: `rotate`, a weight (d, rank) by torch's orthogonal parametrization."""
    holder, layer = nn.Module(), nn.Module()
    layer.weight = nn.Parameter(columns.clone())
    holder.rotate = parametrizations.orthogonal(layer)
    with torch.no_grad():
        layer.weight = columns
    return holder
