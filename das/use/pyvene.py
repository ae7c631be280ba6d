"""pyvene: the same swap through another library. Every use of it is here (pyvene 0.1.8, whose import takes seconds)."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from das.errors import DasError, shown
from das.find.alignment import Alignment
from das.find.foreign import of_state, read_feature
from das.interchange.feature import ROUNDING, Feature
from das.interchange.subspace import Subspace
from das.interchange.units import subspace_of
from das.network.lm import LM
from das.network.parts import places
from das.network.site import Place, Site
from das.task.encoded import Encoded


def pyvene_logits(lm: LM, base: Encoded, source: Encoded, site: Site, feature: Feature) -> Tensor:
    """Logits (rows, vocabulary) after the last token of `base`, with `feature` swapped in from `source` at `site`.

    pyvene does it with full forwards and hooks. One variable, at positions of one token, which may differ by row; of several
    places, each column of the feature lies at one.
    """
    if feature.variables != 1 or any(base.positions[position].shape[1] != 1 for position in site.positions):
        raise DasError("pyvene_logits takes features of one variable at positions of one token")
    if any(here.spot != there.spot for here, there in site.pairs):
        raise DasError("pyvene reads a source where it changes the base: the same layer and component")
    network = _intervenable(lm, site, feature)
    columns = [
        [[[int(column)] for column in batch.positions[place.position][:, 0]] for place in places]
        for batch, places in ((source, site.sources), (base, site.places))
    ]
    with torch.no_grad():
        sources = [_inputs(lm, source)] * len(site.places)
        _, out = network(_inputs(lm, base), sources, {"sources->base": tuple(columns)})
    logits: Tensor = out.logits[:, -1].float()
    return logits


def to_pyvene(alignment: Alignment, model: Any) -> Any:
    """A `pyvene.IntervenableModel` that makes an alignment's swap in a network: a `LowRankRotatedSpaceIntervention` with the
    subspace's columns as its weight, at the site's module. model: a `das.LM`, or a Hugging Face model.

    It is called with fully nested positions, a list of columns per row: `network(base, [source],
    {"sources->base": ([[[12], [9]]], [[[11], [9]]])})`. DasError for what pyvene cannot say: several variables, sites of
    several tokens, a head by itself, what is no subspace.
    """
    lm, site, feature = model if isinstance(model, LM) else LM(model, None), alignment.cell.site, alignment.feature
    subspace = subspace_of(feature)
    if subspace is None or feature.variables != 1 or not feature.size:
        raise DasError(f"{alignment.cell.id}: pyvene takes a subspace of one variable, this is {_words(feature)}")
    if not feature.fits(size := lm.size(*site.spot)):
        raise DasError(
            f"{alignment.cell.id} is of vectors of {len(subspace.basis)} entries; {site.component} has {size} a token"
        )
    columns = subspace.columns(0).to(lm.device)
    pyvene: Any = importlib.import_module("pyvene")
    options = {"embed_dim": size, "low_rank_dimension": columns.shape[1], "keep_last_dim": True}
    intervention = pyvene.LowRankRotatedSpaceIntervention(**options).to(lm.device)
    with torch.no_grad():
        intervention.rotate_layer.weight = columns
    return _network(lm, site, [intervention])


def _words(feature: Feature) -> str:
    return f"{type(feature).__name__.lower()} of {feature.variables} variable(s)"


def from_pyvene(source: Any, columns: int | None = None) -> Subspace:
    """The subspace of a rotated, low-rank rotated or Boundless rotated space: an intervention of pyvene's, its state dict, or
    the file or folder that keeps one (see `das.find.foreign`). columns: how many of a full rotation's are swapped, where it
    does not say; of a Boundless one they are those below its boundary."""
    if isinstance(source, str | Path):
        feature = read_feature(source, columns)
        if (subspace := subspace_of(feature)) is None:
            raise DasError(f"{source} holds {_words(feature)}, no subspace")
        return subspace
    state = source.state_dict() if isinstance(source, torch.nn.Module) else source
    if not isinstance(state, Mapping):
        raise DasError(f"from_pyvene: given {shown(source)}: expected an intervention, its state dict, a file or a folder")
    return of_state({name: value.detach().cpu() for name, value in state.items()}, "the intervention", columns)


def _intervenable(lm: LM, site: Site, feature: Feature) -> Any:
    pyvene: Any = importlib.import_module("pyvene")

    class Swap(pyvene.Intervention):  # type: ignore[misc]
        """Adds the feature's change to the base."""

        own: Feature

        def forward(self, base: Tensor, source: Tensor, subspaces: Any = None, **_: Any) -> Tensor:
            flat, shape = base.flatten(0, -2), base.shape
            return (flat + self.own.swap(flat, source.flatten(0, -2)[None])).view(shape)

    swaps, start = [], 0
    for place in site.places:
        size = lm.size(*place.spot)
        swaps.append(Swap(embed_dim=size, keep_last_dim=True))
        swaps[-1].own, start = _at(feature, slice(start, start + size)), start + size
    return _network(lm, site, swaps)


def _network(lm: LM, site: Site, swaps: Sequence[Any]) -> Any:
    pyvene: Any = importlib.import_module("pyvene")

    class Network(pyvene.IntervenableModel):  # type: ignore[misc]
        """Leaves hooks that are not its own where they are, and looks at every row's position."""

        def _remove_forward_hooks(self) -> None:
            pass

    made = [{"component": _path(lm, p), "intervention": swap} for p, swap in zip(site.places, swaps, strict=True)]
    network = Network(pyvene.IntervenableConfig(made), lm.model)
    network.use_fast = False
    return network


def _at(feature: Feature, part: slice) -> Feature:
    """A feature's part at one place."""
    if (subspace := subspace_of(feature)) is None:
        return feature
    own = subspace.basis[part]
    share = own.square().sum(0)
    if not bool(torch.minimum(share, (1 - share).abs()).max() < ROUNDING):
        raise DasError("a column of the feature lies at several places, which pyvene swaps one by one")
    return Subspace(own, subspace.mask)


def _path(lm: LM, place: Place) -> str:
    """What pyvene calls a place, by its module: so it need not know the network's class."""
    tap = lm.tap(*place.spot)
    if tap.index is not None:
        raise DasError(f"component {place.component!r} is part of a module: pyvene takes only all of it")
    path = next(name for name, module in lm.model.named_modules() if module is tap.module)
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path) + (".input" if tap.input else ".output")


def _inputs(lm: LM, prompts: Encoded) -> dict[str, Tensor]:
    """What the network takes: ids, mask and explicit places, for left-padded prompts."""
    at = places(prompts).to(lm.device)
    ids = torch.from_numpy(prompts.ids).to(lm.device)
    return {"input_ids": ids, "attention_mask": (at >= 0).long(), "position_ids": at.clamp(min=0)}
