"""pyvene: the same swap through another library. Every use of it is here (pyvene 0.1.8, whose import takes seconds)."""

from __future__ import annotations

import importlib
import re
from typing import Any

import torch
from torch import Tensor

from das.errors import DasError
from das.interchange.feature import Feature
from das.network.asking import places
from das.network.lm import LM
from das.network.site import Site
from das.task.encoded import Encoded


def pyvene_logits(lm: LM, base: Encoded, source: Encoded, site: Site, feature: Feature) -> Tensor:
    """Logits (rows, vocabulary) after the last token of `base`, with `feature` swapped in from `source` at `site`.

    pyvene does it with full forwards and hooks. One variable, at a position of one token, which may differ by row.
    """
    position = site.position
    if feature.variables != 1 or base.positions[position].shape[1] != 1:
        raise DasError("pyvene_logits takes features of one variable at positions of one token")
    network = _intervenable(lm, site, feature)
    spots = [[[int(column)] for column in batch.positions[position][:, 0]] for batch in (source, base)]
    with torch.no_grad():
        _, out = network(_inputs(lm, base), [_inputs(lm, source)], {"sources->base": ([spots[0]], [spots[1]])})
    logits: Tensor = out.logits[:, -1].float()
    return logits


def _intervenable(lm: LM, site: Site, feature: Feature) -> Any:
    pyvene: Any = importlib.import_module("pyvene")

    class Swap(pyvene.Intervention):  # type: ignore[misc]
        """Adds the feature's change to the base."""

        def forward(self, base: Tensor, source: Tensor, subspaces: Any = None, **_: Any) -> Tensor:
            flat, shape = base.flatten(0, -2), base.shape
            return (flat + feature.swap(flat, source.flatten(0, -2)[None])).view(shape)

    class Network(pyvene.IntervenableModel):  # type: ignore[misc]
        """Leaves hooks that are not its own where they are, and looks at every row's position."""

        def _remove_forward_hooks(self) -> None:
            pass

    swap = Swap(embed_dim=lm.size(*site.spot), keep_last_dim=True)
    network = Network(pyvene.IntervenableConfig({"component": _path(lm, site), "intervention": swap}), lm.model)
    network.use_fast = False
    return network


def _path(lm: LM, site: Site) -> str:
    """What pyvene calls a site, by its module: so it need not know the network's class."""
    tap = lm.tap(*site.spot)
    if tap.index is not None:
        raise DasError(f"component {site.component!r} is part of a module: pyvene takes only all of it")
    path = next(name for name, module in lm.model.named_modules() if module is tap.module)
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path) + (".input" if tap.input else ".output")


def _inputs(lm: LM, prompts: Encoded) -> dict[str, Tensor]:
    """What the network takes: ids, mask and explicit places, for left-padded prompts."""
    at = places(prompts).to(lm.device)
    ids = torch.from_numpy(prompts.ids).to(lm.device)
    return {"input_ids": ids, "attention_mask": (at >= 0).long(), "position_ids": at.clamp(min=0)}
