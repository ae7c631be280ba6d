"""Holding: a swap that is made in every forward of a network, whoever calls it and generates with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from das.errors import DasError
from das.interchange.calls import Call, Where, columns_of, read_call
from das.interchange.feature import Feature
from das.interchange.following import Following, by_itself, instead, resting
from das.interchange.joint import Joint, Part
from das.network.lm import LM
from das.network.site import Site, Spot
from das.network.steps import CellTap
from das.network.taps import changing


@dataclass
class _Now:
    """A forward that is under way. columns: (rows, n), counted in this call; here: the rows that have theirs in it."""

    call: Call
    columns: Tensor
    here: Tensor
    runs: int = 0


class Change(Protocol):
    """What is put at a held place. paused: for now nothing is."""

    @property
    def paused(self) -> bool: ...

    def new(self, come: Tensor, here: Tensor, beams: bool) -> Tensor:
        """In place of what comes, (rows, n·size), in the rows that have the place `here`. beams: there may be several rows to a
        prompt."""


@dataclass(frozen=True)
class _Own:
    """The swap at a single place, which depends on what comes there alone.

    sources: (variables, rows, n·size), with one row for all prompts or a row for each.
    """

    feature: Feature
    sources: Tensor
    paused: bool = False

    def new(self, come: Tensor, here: Tensor, beams: bool) -> Tensor:
        rows, count = len(come), self.sources.shape[1]
        if count > 1 and (rows % count or (rows != count and not beams)):
            raise DasError(f"there are {count} sources and {rows} prompts in a call: give one source, or one for each prompt")
        sources = self.sources.expand(-1, rows, -1) if count == 1 else self.sources.repeat_interleave(rows // count, 1)
        return come.float() + self.feature.swap(come, sources.to(come))


class _Holding:
    """What the hooks of one held swap share, at one place."""

    def __init__(self, lm: LM, spot: Spot, where: Where, change: Change) -> None:
        self.lm, self.where, self.change = lm, where, change
        self.tap = lm.tap(*spot)
        if isinstance(self.tap, CellTap):
            raise DasError(f"{spot[0]}[{spot[1]}] is a state that is handed on from step to step: a swap of it is not held")
        self.following = Following(lm, self.tap.module, lambda ids, mask: columns_of(lm, ids, mask, where))
        self.name, self.made = f"{spot[0]}[{spot[1]}]", 0
        self.now: _Now | None = None

    @property
    def _rests(self) -> bool:
        return self.change.paused or resting(self.lm.model)

    # --- where ---

    def enter(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before a forward: finds the columns of it that are to be swapped."""
        if self._rests:
            return
        call = read_call(self.following.frame, args, kwargs)
        past, length = self.following.past(call), call.ids.shape[1]
        at = self._columns(len(call.ids)).to(call.ids.device) - past
        inside = (at >= 0) & (at < length)
        if bool((inside.any(1) != inside.all(1)).any()):
            raise DasError("the tokens of the swap's place come in several forwards: run the prompt in one")
        self.now = _Now(call, at.clamp(0, length - 1), inside.all(1))

    def _columns(self, rows: int) -> Tensor:
        """In a decoder beside an encoder tokens are counted from the one that the answer begins with, the same in all rows."""
        if self.following.begun is None:
            return torch.from_numpy(self.where([])).expand(rows, -1)
        columns = self.following.begun.found
        return columns.repeat_interleave(rows // len(columns), 0)

    # --- the swap ---

    def swap(self, value: Tensor) -> Tensor:
        """What passes the tap, with the feature swapped in the rows that have their place here."""
        if self._rests:
            return value
        if self.now is None:
            raise by_itself(self.name, self.following)
        now = self.now
        now.runs += 1
        if not bool(now.here.any()):
            return value
        rows, length = now.call.ids.shape
        held = self.tap.read(value, rows)
        if held.shape[1] not in (1, length):
            raise DasError(f"{self.name} hands on {held.shape[1]} vectors for {length} tokens: their places are not known")
        columns = now.columns.to(held.device)
        at = columns if held.shape[1] > 1 else columns * 0
        base = held[torch.arange(rows, device=held.device)[:, None], at].flatten(1)
        here = now.here.to(held.device)
        new = torch.where(here[:, None], self.change.new(base, here, self.following.generating).to(base), base)
        return self.tap.put(value, columns, new.unflatten(1, (columns.shape[1], -1)))

    def leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """After a forward, and after one that failed, which gives nothing."""
        if self._rests:
            return
        now, self.now = self.now, None
        if now is None or output is None or not bool(now.here.any()):
            return
        if now.runs != 1:
            raise DasError(f"{self.name} was run {now.runs or 'no'} times in a forward that should swap there once")
        self.made += 1

    # --- generation ---

    def generate(self, own: Any) -> Callable[..., Any]:
        """The network's `generate`, under the swap."""

        @wraps(own)
        def held(*args: Any, **kwargs: Any) -> Any:
            before = self.made
            with self.following.generation(args, kwargs) as more:
                found = own(*args, **kwargs | more)
            if self.made == before:
                raise DasError("nothing was swapped while this was generated: what was given (a cache) holds the place already")
            return found

        return held


@contextmanager
def holding(lm: LM, spot: Spot, feature: Feature, sources: Tensor, where: Where) -> Iterator[None]:
    """Swaps a feature in every forward of the network for the time of a `with` block, calls and `generate` of the user's own.

    sources: (variables, rows, n·size), what the sources have at their places, with one row for all prompts or a row for each;
    where: the tokens of each prompt whose vectors are swapped. The swap is made where that token is run: once where a cache
    keeps what was made of it, anew in every forward that runs it anew. DasError where a call does not say where that is, and
    where nothing was swapped in the whole block.
    """
    held = _Holding(lm, spot, where, _Own(feature, sources))
    with ExitStack() as stack:
        _enter(stack, held)
        yield
    _check_made(held)


@contextmanager
def holding_all(lm: LM, site: Site, feature: Feature, sources: Sequence[Tensor], wheres: Mapping[str, Where]) -> Iterator[None]:
    """The same at all places of a base that a site has. sources: for each place, what the source has at its own; wheres: the
    tokens of each position. Where there are several places, the network is asked once more whenever prompts begin.
    """
    places = site.places
    if len(places) == 1:
        with holding(lm, places[0].spot, feature, sources[0], wheres[places[0].position]):
            yield
        return
    joint = Joint(lm, site, feature, sources, wheres)
    held = [_Holding(lm, place.spot, wheres[place.position], Part(joint, i)) for i, place in enumerate(places)]
    if len({each.following.frame for each in held}) > 1:
        raise DasError(f"{site} lies in the encoder and in the decoder: apply swaps there, calls of their own are not held so")
    network: Any = lm.model
    reads = network.get_encoder() if held[0].following.answer else held[0].following.frame
    with ExitStack() as stack:
        stack.callback(reads.register_forward_pre_hook(joint.enter, with_kwargs=True).remove)
        for each in held:
            _enter(stack, each)
        if own := getattr(lm.model, "generate", None):
            stack.enter_context(instead(lm.model, "generate", joint.generate(own)))
        yield
    for each in held:
        _check_made(each)


def _enter(stack: ExitStack, held: _Holding) -> None:
    """Sets the hooks of a held swap."""
    stack.callback(held.following.frame.register_forward_pre_hook(held.enter, with_kwargs=True).remove)
    stack.enter_context(changing(held.tap, lambda value, _before: held.swap(value)))
    stack.callback(held.following.frame.register_forward_hook(held.leave, always_call=True).remove)
    if own := getattr(held.lm.model, "generate", None):
        stack.enter_context(instead(held.lm.model, "generate", held.generate(own)))


def _check_made(held: _Holding) -> None:
    if not held.made:
        raise DasError(
            "nothing was swapped: the network was not called in the block, or not the one that das holds (a compiled copy?)"
        )
