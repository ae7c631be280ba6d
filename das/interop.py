"""pyvene: the same swap through another library. Every use of it is here (pyvene 0.1.8, whose import takes seconds)."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from das.errors import DasError
from das.lm import LM
from das.prompt import Encoded
from das.subspace import Subspace


def pyvene_logits(lm: LM, base: Encoded, source: Encoded, layer: int, position: str, subspace: Subspace) -> Tensor:
    """Logits (rows, vocabulary) after the last token of `base`, with `subspace` swapped in from `source` after `layer`.

    pyvene does it with full forwards and hooks. One variable, at a position of one token, which may differ by row.
    """
    if subspace.mask.shape[0] != 1 or base.positions[position].shape[1] != 1:
        raise DasError("pyvene_logits takes subspaces of one variable at positions of one token")
    network = _intervenable(lm, layer, subspace)
    places = [[[int(column)] for column in batch.positions[position][:, 0]] for batch in (source, base)]
    with torch.no_grad():
        _, out = network(_inputs(base), [_inputs(source)], {"sources->base": ([places[0]], [places[1]])})
    logits: Tensor = out.logits[:, -1].float()
    return logits


def _intervenable(lm: LM, layer: int, subspace: Subspace) -> Any:
    pyvene: Any = importlib.import_module("pyvene")

    class Swap(pyvene.Intervention):  # type: ignore[misc]
        """Adds the subspace's change to the base."""

        def forward(self, base: Tensor, source: Tensor, subspaces: Any = None, **_: Any) -> Tensor:
            flat, shape = base.flatten(0, -2), base.shape
            return (flat + subspace.delta(flat, source.flatten(0, -2)[None])).view(shape)

    class Network(pyvene.IntervenableModel):  # type: ignore[misc]
        """Leaves hooks that are not its own where they are, and looks at every row's position."""

        def _remove_forward_hooks(self) -> None:
            pass

    swap = Swap(embed_dim=lm.width, keep_last_dim=True)
    network = Network(pyvene.IntervenableConfig({"layer": layer, "component": "block_output", "intervention": swap}), lm.model)
    network.use_fast = False
    return network


def _inputs(prompts: Encoded) -> dict[str, Tensor]:
    """What the network takes: ids, mask and explicit places, for left-padded prompts."""
    columns = torch.arange(prompts.ids.shape[1]) - (prompts.ids.shape[1] - torch.from_numpy(prompts.lengths))[:, None]
    return {
        "input_ids": torch.from_numpy(prompts.ids),
        "attention_mask": (columns >= 0).long(),
        "position_ids": columns.clamp(min=0),
    }
