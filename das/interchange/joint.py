"""Joint: what each of several places gets when a swap at all of them is held in calls, where they may be run one after another.

The rule is that of a run (see `das.interchange.batch`): with x what the base's prompts have at all places together, unswapped,
place i gets its part of x + swap(x, sources), and of what an earlier place's swap has moved there, what the feature leaves.
So x is found first, by a forward of its own whenever prompts begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.interchange.calls import Where, given_prompts, read_call, real_of
from das.interchange.engine import HookEngine
from das.interchange.feature import Feature
from das.interchange.following import resting
from das.network.closeness import apart, tolerance
from das.network.columns import check_apart, staged
from das.network.lm import LM
from das.network.site import Site
from das.task.encoded import Encoded


class Joint:
    """A swap at all places of a site, for the prompts that were begun last.

    sources: for each place (variables, rows, n·size), with one row for all prompts or a row for each. wheres: position → where
    it lies. paused: while it asks the network itself, nothing is swapped.
    """

    def __init__(self, lm: LM, site: Site, feature: Feature, sources: Sequence[Tensor], wheres: Mapping[str, Where]) -> None:
        self.lm, self.site, self.feature, self.sources, self.wheres = lm, site, feature, sources, wheres
        self.staged = staged(lm, site)
        ends = np.cumsum([0, *(each.shape[2] for each in sources)]).tolist()
        self.parts = [slice(a, b) for a, b in pairwise(ends)]
        self.paused = self.generating = False
        self.base: Tensor | None = None
        self.aimed = self.first = torch.zeros(0)

    # --- which prompts ---

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before a forward of what reads the prompts."""
        rests = self.paused or self.generating or resting(self.lm.model)
        if not rests and (call := read_call(module, args, kwargs)).past == 0:
            self._begin(call.ids, call.mask)

    def generate(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """The network's `generate`, whose prompts are known from the start."""

        @wraps(own)
        def held(*args: Any, **kwargs: Any) -> Any:
            self._begin(*given_prompts(args, kwargs))
            self.generating = True
            try:
                return own(*args, **kwargs)
            finally:
                self.generating = False

        return held

    def _begin(self, ids: Tensor, mask: Tensor | None) -> None:
        """Finds what the prompts have at the places, and what these are to get."""
        prompts = self._encoded(ids, mask)
        check_apart(self.lm, prompts, self.site)
        self.paused = True
        try:
            capture = HookEngine(self.lm).capture(prompts, self.site.spots)
        finally:
            self.paused = False
        places = self.site.places
        found = [capture.at(p.spot, torch.from_numpy(prompts.positions[p.position])).flatten(1).float() for p in places]
        for place, mine, source in zip(places, found, self.sources, strict=True):
            if mine.shape[1] != source.shape[2]:
                raise DasError(f"{place} has {mine.shape[1]} entries in a call, and {source.shape[2]} come from the source")
            if source.shape[1] not in (1, len(ids)):
                raise DasError(f"there are {source.shape[1]} sources and {len(ids)} prompts in a call: one, or as many")
        self.base, sources = torch.cat(found, 1), torch.cat(list(self.sources), 2).expand(-1, len(ids), -1)
        self.aimed = self.base + self.feature.swap(self.base, sources.to(self.base))
        self.first = torch.full((len(ids),), -1, device=self.base.device)

    def _encoded(self, ids: Tensor, mask: Tensor | None) -> Encoded:
        """The prompts of a call as a task's are: padded on the left, with their positions."""
        rows = [row[at] for row, at in zip(ids.cpu().numpy(), real_of(self.lm, ids, mask), strict=True)]
        lengths = np.array([len(row) for row in rows])
        width = int(lengths.max())
        padded = np.stack([np.pad(row, (width - len(row), 0)) for row in rows])
        at = {name: where(rows) + (width - lengths)[:, None] for name, where in self.wheres.items()}
        return Encoded(padded, lengths, at)

    # --- what a place gets ---

    def new(self, place: int, come: Tensor, here: Tensor) -> Tensor:
        """In place of what comes at one of the places, see `das.interchange.holding.Change`."""
        if self.base is None:
            raise DasError("what is swapped at several places depends on the prompts: let the network read them in the block")
        if come.requires_grad:
            raise DasError("a swap that is held at several places has no gradient: call the network under torch.no_grad()")
        many, part = len(come) // len(self.base), self.parts[place]
        base, aimed = (each[:, part].repeat_interleave(many, 0) for each in (self.base, self.aimed))
        self._check_as_asked(place, come.float(), base, here, many)
        return aimed + self.feature.keep(part, come.float() - base) if self.staged else aimed

    def _check_as_asked(self, place: int, come: Tensor, base: Tensor, here: Tensor, many: int) -> None:
        """DasError where the first place that a prompt comes to, which no swap has reached, has not what was found there."""
        some = here.unflatten(0, (-1, many)).any(1)
        self.first = torch.where(some & (self.first < 0), place, self.first)
        rows = here & (self.first == place).repeat_interleave(many)
        if bool(rows.any()) and apart(come[rows], base[rows]) > tolerance(self.lm.model):
            raise DasError(
                f"a call has other values at {self.site.places[place]} than its prompts, asked alone, have there (another swap "
                "beside this one, position_ids, another beginning of the answer): a swap at several places is not held in it"
            )


@dataclass(frozen=True)
class Part:
    """One place of a joint swap, by its number."""

    joint: Joint
    place: int

    @property
    def paused(self) -> bool:
        return self.joint.paused

    def new(self, come: Tensor, here: Tensor, beams: bool) -> Tensor:
        return self.joint.new(self.place, come, here)
