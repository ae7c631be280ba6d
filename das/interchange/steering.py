"""Steering: an operator that acts at every chosen token of a network's forwards, of the prompt or of what is generated, at one
place of the network or in a band of layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.interchange.calls import Call, read_call, real_of
from das.interchange.following import Begun, Following, by_itself, instead, resting
from das.interchange.operators import Operator
from das.network.lm import LM
from das.network.site import Spot
from das.network.steps import CellTap
from das.network.taps import Tap, changing
from das.task.rendered import Indices

Marks = Callable[[Sequence[Indices]], Sequence[Indices] | Indices]
"""Each row's prompt as token ids, unpadded → the numbers of the tokens in it that are steered, from 0."""


def every_token(prompts: Sequence[Indices]) -> Sequence[Indices]:
    """All tokens of all prompts."""
    return [np.arange(len(prompt)) for prompt in prompts]


@dataclass(frozen=True)
class Tokens:
    """Which tokens are steered.

    prompt: those of a prompt. new: the numbers of new tokens whose making is steered, None for all: number 0 is made at the
    prompt's last token, number 1 where number 0 is read, and so on; in the decoder of an encoder–decoder number 0 is made at
    the token that the answer begins with.
    """

    prompt: Marks | None = None
    new: Collection[int] | None = ()

    def at(self, numbers: Tensor) -> Tensor:
        """Where new tokens are steered. numbers: which one is made at each token of a call, −1 where none is."""
        return numbers >= 0 if self.new is None else torch.isin(numbers, torch.tensor(list(self.new), dtype=torch.long))


@dataclass(frozen=True)
class _Prompts:
    """marked: (rows, tokens), whether a token of the prompt is steered; last: (rows,), the column of its last one."""

    marked: Tensor
    last: Tensor


@dataclass
class Under:
    """A forward that is under way.

    numbers: the new token that is made at each token of the call, −1 for none; here: whether it is steered there, (rows,
    tokens). begun: the prompts, where they are read. beams: there may be several rows to a prompt.
    """

    call: Call
    numbers: Tensor
    here: Tensor
    begun: Begun[Any] | None
    beams: bool
    runs: dict[Spot, int] = field(default_factory=dict)


class Push(Protocol):
    """What is done to the vectors of steered tokens."""

    def begin(self, now: Under) -> None:
        """Before a forward."""

    def change(self, spot: Spot, held: Tensor, now: Under) -> Tensor:
        """What is added at a spot, where `held` (rows, tokens, size) comes, in fp32; looked at where tokens are steered."""


@dataclass(frozen=True)
class Operators:
    """An operator for each spot. count: for how many prompts it has vectors of their own; 1 where it is the same for all."""

    each: Mapping[Spot, Operator]
    count: int = 1

    def begin(self, now: Under) -> None:
        pass

    def change(self, spot: Spot, held: Tensor, now: Under) -> Tensor:
        rows, length, _ = held.shape
        if rows % self.count or (rows != self.count > 1 and not now.beams):
            raise DasError(
                f"there are vectors for {self.count} prompts and {rows} prompts in a call: give one, or one for each"
            )
        own = torch.arange(rows).div(rows // self.count, rounding_mode="floor").repeat_interleave(length)
        return self.each[spot].take(own).change(held.float().flatten(0, 1)).view(held.shape)


class _Steering:
    """What the hooks of a steering share."""

    def __init__(self, lm: LM, spots: Sequence[Spot], tokens: Tokens, push: Push) -> None:
        self.lm, self.tokens, self.push = lm, tokens, push
        self.taps = {spot: lm.tap(*spot) for spot in spots}
        followed = [Following(lm, tap.module, self._find) for tap in self.taps.values()]
        _check(self.taps, followed, tokens)
        self.following, self.made = followed[0], 0
        self.reads_on = not lm.halves
        self.now: Under | None = None

    def _find(self, ids: Tensor, mask: Tensor | None) -> _Prompts:
        real, marked = real_of(self.lm, ids, mask), torch.zeros(ids.shape, dtype=torch.bool)
        prompts = [row[at] for row, at in zip(ids.cpu().numpy(), real, strict=True)]
        for row, numbers in enumerate(self.tokens.prompt(prompts) if self.tokens.prompt else ()):
            marked[row, torch.from_numpy(real[row][numbers])] = True
        return _Prompts(marked, torch.tensor([at[-1] for at in real]))

    def enter(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before a forward: finds the tokens of it that are steered."""
        if resting(self.lm.model):
            return
        call = read_call(self.following.frame, args, kwargs)
        past, (rows, length) = self.following.past(call), call.ids.shape
        columns, begun = torch.arange(past, past + length).expand(rows, -1), self.following.begun
        numbers = columns if self.following.answer else columns * 0 - 1
        here = torch.zeros(rows, length, dtype=torch.bool)
        if begun is not None:
            many, width = rows // len(begun.ids), begun.ids.shape[1]
            last, marked = (each.repeat_interleave(many, 0) for each in (begun.found.last, begun.found.marked))
            if self.reads_on:
                numbers = torch.where(columns < width, (columns == last[:, None]).long() - 1, columns - width + 1)
            here = marked.take_along_dim(columns.clamp(max=width - 1), 1) & (columns < width)
        here = here | self.tokens.at(numbers)
        self.now = Under(call, numbers, here, begun, self.following.generating)
        self.push.begin(self.now)

    def steer(self, spot: Spot, value: Tensor) -> Tensor:
        """What passes a tap, changed at the tokens that are steered."""
        if resting(self.lm.model):
            return value
        now, tap = self.now, self.taps[spot]
        if now is None:
            raise by_itself(f"{spot[0]}[{spot[1]}]", self.following)
        now.runs[spot] = now.runs.get(spot, 0) + 1
        if not bool(now.here.any()):
            return value
        rows, length = now.call.ids.shape
        held = tap.read(value, rows)
        if held.shape[1] != length:
            raise DasError(
                f"{spot[0]}[{spot[1]}] hands on {held.shape[1]} vectors for {length} tokens: their places are not known"
            )
        here = now.here.to(held.device)[..., None]
        new = torch.where(here, held + self.push.change(spot, held, now).to(held), held)
        return tap.put(value, torch.arange(length, device=held.device).expand(rows, -1), new)

    def leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """After a forward, and after one that failed, which gives nothing."""
        if resting(self.lm.model):
            return
        now, self.now = self.now, None
        if now is None or output is None or not bool(now.here.any()):
            return
        for spot in self.taps:
            if (runs := now.runs.get(spot, 0)) != 1:
                raise DasError(f"{spot[0]}[{spot[1]}] was run {runs or 'no'} times in a forward that should steer it once")
        self.made += 1

    def generate(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """The network's `generate`, steered."""

        @wraps(own)
        def held(*args: Any, **kwargs: Any) -> Any:
            with self.following.generation(args, kwargs) as more:
                return own(*args, **kwargs | more)

        return held


def _check(taps: Mapping[Spot, Tap], followed: Sequence[Following[Any]], tokens: Tokens) -> None:
    """DasError for what cannot be steered together, or there."""
    for (component, layer), tap in taps.items():
        if isinstance(tap, CellTap):
            raise DasError(f"{component}[{layer}] is a state that is handed on from step to step: it is not steered")
    one = followed[0]
    if any(each.frame is not one.frame for each in followed):
        raise DasError("the layers lie in the encoder and in the decoder: steer each by itself, one block in the other")
    if one.lm.halves and not one.answer and (tokens.new is None or len(tokens.new)):
        raise DasError("an encoder reads the prompt and no new tokens: say which of the prompt's are steered, position=…")
    if one.answer and tokens.prompt is not None:
        raise DasError("a decoder reads no token of the prompt: say which new tokens are steered, new=…")


@contextmanager
def steering(lm: LM, spots: Sequence[Spot], tokens: Tokens, push: Push) -> Iterator[None]:
    """Acts at the chosen tokens of every forward of the network for the time of a `with` block, in calls and `generate` of the
    user's own: where a token is run, once where a cache keeps what was made of it, anew in every forward that runs it anew.

    DasError where a call does not say where its tokens are, and where nothing was steered in the whole block. A forward that
    goes on from a cache goes on from the prompts that were begun in the block; in a loop of one's own without a cache every
    forward is a prompt.
    """
    held = _Steering(lm, spots, tokens, push)
    with ExitStack() as stack:
        stack.callback(held.following.frame.register_forward_pre_hook(held.enter, with_kwargs=True).remove)
        for spot, tap in held.taps.items():
            stack.enter_context(changing(tap, partial(_steered, held, spot)))
        stack.callback(held.following.frame.register_forward_hook(held.leave, always_call=True).remove)
        if own := getattr(lm.model, "generate", None):
            stack.enter_context(instead(lm.model, "generate", held.generate(own)))
        yield
    if not held.made:
        raise DasError("nothing was steered: the network was not called in the block, or came to none of the tokens")


def _steered(held: _Steering, spot: Spot, value: Tensor, _before: int) -> Tensor:
    return held.steer(spot, value)
