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
from das.interchange.calls import Call, Where, columns_of, frame_of, given_prompts, read_call
from das.interchange.feature import Feature
from das.interchange.joint import Joint, Part
from das.network.lm import LM
from das.network.site import Site, Spot
from das.network.steps import CellTap
from das.network.taps import changing


@dataclass
class _Prompts:
    """Prompts that a network goes on from. columns: (rows, n), those to be swapped; seen: up to which column they were run."""

    ids: Tensor
    columns: Tensor
    seen: int = 0


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
        self.frame, self.answer = frame_of(lm, self.tap.module)
        self.name, self.made = f"{spot[0]}[{spot[1]}]", 0
        self.prompts: _Prompts | None = None
        self.generating = False
        self.now: _Now | None = None

    # --- where ---

    def enter(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before a forward: finds the columns of it that are to be swapped."""
        if self.change.paused:
            return
        call = read_call(self.frame, args, kwargs)
        length = call.ids.shape[1]
        past, columns = self._of_answer(call) if self.answer else self._of_prompts(call)
        at = columns.to(call.ids.device) - past
        inside = (at >= 0) & (at < length)
        if bool((inside.any(1) != inside.all(1)).any()):
            raise DasError("the tokens of the swap's place come in several forwards: run the prompt in one")
        self.now = _Now(call, at.clamp(0, length - 1), inside.all(1))

    def _of_answer(self, call: Call) -> tuple[int, Tensor]:
        """Of a decoder beside an encoder, whose tokens are counted from the one that the answer begins with."""
        if call.past is None or not (self.generating or call.mask is None or bool(call.mask.all())):
            raise DasError("a swap in a decoder is held in calls without padding, with a cache that says how long it is")
        return call.past, torch.from_numpy(self.where([])).expand(len(call.ids), -1)

    def _of_prompts(self, call: Call) -> tuple[int, Tensor]:
        begun = self.prompts
        if begun is None or (not self.generating and call.past == 0):
            if call.past:
                raise DasError("the cache was filled before the swap was held, or beside it: begin the prompt in the block")
            if call.past is None:
                raise DasError(
                    "this network does not say of how many tokens it keeps something: let it generate, or run it whole"
                )
            begun = self.prompts = _Prompts(call.ids, columns_of(self.lm, call.ids, call.mask, self.where))
        past = begun.seen if call.past is None else call.past
        self._check_goes_on(call, past, begun)
        begun.seen = past + call.ids.shape[1]
        return past, begun.columns.repeat_interleave(len(call.ids) // len(begun.ids), 0)

    def _check_goes_on(self, call: Call, past: int, begun: _Prompts) -> None:
        """DasError where a forward is not of the prompts, or of what was generated from them."""
        width, rows = begun.ids.shape[1], len(begun.ids)
        both = max(0, min(width - past, call.ids.shape[1]))
        own = begun.ids[:, past : past + both].to(call.ids.device)
        many = len(call.ids) // rows if len(call.ids) % rows == 0 and (self.generating or len(call.ids) == rows) else 0
        same = bool(many) and bool((call.ids[:, :both] == own.repeat_interleave(many, 0)).all())
        again = past == 0 and begun.seen >= width
        if not self.generating:
            same = same and past == begun.seen
        if not same or past > begun.seen or (again and both < width) or (0 < past < min(begun.seen, width)):
            raise DasError(
                "a forward does not go on from the prompts that were begun in the block (another cache, guidance by a second "
                "prompt, other rows): the swap would be made at a place that nobody chose"
            )

    # --- the swap ---

    def swap(self, value: Tensor) -> Tensor:
        """What passes the tap, with the feature swapped in the rows that have their place here."""
        if self.change.paused:
            return value
        if self.now is None:
            raise DasError(
                f"a part of the network with {self.name} is run by itself, or while another swap at several places asks its "
                f"prompts: call {type(self.frame).__name__}, and hold that swap alone"
            )
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
        new = torch.where(here[:, None], self.change.new(base, here, self.generating).to(base), base)
        return self.tap.put(value, columns, new.unflatten(1, (columns.shape[1], -1)))

    def leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """After a forward, and after one that failed, which gives nothing."""
        now, self.now = self.now, None
        if now is None or output is None or not bool(now.here.any()):
            return
        if now.runs != 1:
            raise DasError(f"{self.name} was run {now.runs or 'no'} times in a forward that should swap there once")
        self.made += 1

    # --- generation ---

    def generate(self, own: Any) -> Callable[..., Any]:
        """The network's `generate`, under the swap: its prompts are known from the start, however they are then run."""

        @wraps(own)
        def held(*args: Any, **kwargs: Any) -> Any:
            if self.generating:
                raise DasError("the network generates while it generates (as its own assistant): a swap is not held there")
            before, plainly = self.made, {"disable_compile": True} if hasattr(self.lm.model, "generation_config") else {}
            self._begin(args, kwargs)
            self.generating = True
            try:
                found = own(*args, **kwargs | plainly)
            finally:
                self.generating, self.prompts = False, None
            if self.made == before:
                raise DasError("nothing was swapped while this was generated: what was given (a cache) holds the place already")
            return found

        return held

    def _begin(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self.frame is not self.lm.model:  # the encoder is told its prompts, and the decoder has none
            if self.answer and not bool(torch.as_tensor(kwargs.get("decoder_attention_mask", True)).all()):
                raise DasError("a swap in a decoder is held in calls without padding of the answer")
            return
        ids, mask = given_prompts(args, kwargs)
        self.prompts = _Prompts(ids, columns_of(self.lm, ids, mask, self.where))


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
    if len({each.frame for each in held}) > 1:
        raise DasError(f"{site} lies in the encoder and in the decoder: apply swaps there, calls of their own are not held so")
    network: Any = lm.model
    reads = network.get_encoder() if held[0].answer else held[0].frame
    with ExitStack() as stack:
        stack.callback(reads.register_forward_pre_hook(joint.enter, with_kwargs=True).remove)
        for each in held:
            _enter(stack, each)
        if own := getattr(lm.model, "generate", None):
            stack.enter_context(_instead(lm.model, "generate", joint.generate(own)))
        yield
    for each in held:
        _check_made(each)


def _enter(stack: ExitStack, held: _Holding) -> None:
    """Sets the hooks of a held swap."""
    stack.callback(held.frame.register_forward_pre_hook(held.enter, with_kwargs=True).remove)
    stack.enter_context(changing(held.tap, lambda value, _before: held.swap(value)))
    stack.callback(held.frame.register_forward_hook(held.leave, always_call=True).remove)
    if own := getattr(held.lm.model, "generate", None):
        stack.enter_context(_instead(held.lm.model, "generate", held.generate(own)))


def _check_made(held: _Holding) -> None:
    if not held.made:
        raise DasError(
            "nothing was swapped: the network was not called in the block, or not the one that das holds (a compiled copy?)"
        )


@contextmanager
def _instead(thing: Any, name: str, value: Any) -> Iterator[None]:
    """An object with another attribute, for the time of a `with` block."""
    before = vars(thing).get(name)
    object.__setattr__(thing, name, value)
    try:
        yield
    finally:
        if before is None:
            object.__delattr__(thing, name)
        else:
            object.__setattr__(thing, name, before)
