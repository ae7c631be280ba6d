"""Following: which prompts a network goes on from, whoever calls it and generates with it, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from das.errors import DasError
from das.interchange.calls import Call, frame_of, given_prompts
from das.network.lm import LM

Found = TypeVar("Found")

_BESIDE: list[nn.Module] = []


@contextmanager
def beside(model: nn.Module) -> Iterator[None]:
    """Within it the network is asked for itself, while something is held in it: whatever that is, it rests."""
    _BESIDE.append(model)
    try:
        yield
    finally:
        _BESIDE.pop()


def resting(model: nn.Module) -> bool:
    """Whether what is held in a network rests for now."""
    return any(model is each for each in _BESIDE)


@dataclass
class Begun(Generic[Found]):
    """Prompts that a network goes on from. found: what was made of them; seen: up to which column they were run; text: the
    tokens up to there, None where rows have come or gone between, so that it is not known which goes on from which."""

    ids: Tensor
    found: Found
    seen: int = 0
    text: Tensor | None = None

    def go_on(self, call: Call, past: int) -> None:
        """Notes a forward."""
        known = self.text
        if past == 0:
            self.text = call.ids
        elif known is not None:
            self.text = torch.cat([known[:, :past], call.ids], 1) if len(known) == len(call.ids) else None
        self.seen = past + call.ids.shape[1]


class Following(Generic[Found]):
    """Of the forwards in which a module is run: the prompts, and where each call goes on from.

    find: from token ids (rows, tokens) and the mask of those that are no padding, what is to be known of prompts. answer:
    whether the module reads the answer of an encoder–decoder, which has no prompt.
    """

    def __init__(self, lm: LM, module: nn.Module, find: Callable[[Tensor, Tensor | None], Found]) -> None:
        self.lm, self._find = lm, find
        self.frame, self.answer = frame_of(lm, module)
        self.generating = False
        self.begun: Begun[Found] | None = None

    def past(self, call: Call) -> int:
        """How many columns an earlier forward has run. DasError where that is not known, or the call does not go on from the
        prompts that were begun."""
        if self.answer:
            if call.past is None or not (self.generating or call.mask is None or bool(call.mask.all())):
                raise DasError("a decoder is followed in calls without padding, with a cache that says how long it is")
            return call.past
        begun = self.begun
        if begun is None or (not self.generating and call.past == 0):
            if call.past:
                raise DasError("the cache was filled before the block, or beside it: begin the prompt in the block")
            if call.past is None:
                raise DasError(
                    "this network does not say of how many tokens it keeps something: let it generate, or run it whole"
                )
            begun = self._begin(call.ids, call.mask)
        past = begun.seen if call.past is None else call.past
        self._check_goes_on(call, past, begun)
        begun.go_on(call, past)
        return past

    def _begin(self, ids: Tensor, mask: Tensor | None) -> Begun[Found]:
        self.begun = Begun(ids, self._find(ids, mask))
        return self.begun

    def _check_goes_on(self, call: Call, past: int, begun: Begun[Found]) -> None:
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
                "prompt, other rows): a change would be made at a place that nobody chose"
            )

    @contextmanager
    def generation(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Around the network's `generate`, whose prompts are known from the start, however they are then run. Gives what is to
        be said to it besides."""
        if self.generating:
            raise DasError("the network generates while it generates (as its own assistant): nothing is held there")
        if self.frame is self.lm.model:
            self._begin(*given_prompts(args, kwargs))
        elif self.answer and not bool(torch.as_tensor(kwargs.get("decoder_attention_mask", True)).all()):
            raise DasError("a decoder is followed in calls without padding of the answer")
        self.generating = True
        try:
            yield {"disable_compile": True} if hasattr(self.lm.model, "generation_config") else {}
        finally:
            self.generating, self.begun = False, None


def by_itself(name: str, following: Following[Any]) -> DasError:
    """Said where a part is run outside of a forward that is followed. name: of the part."""
    return DasError(
        f"a part of the network with {name} is run by itself, or while another swap at several places asks its "
        f"prompts: call {type(following.frame).__name__}, and hold that swap alone"
    )


@contextmanager
def instead(thing: Any, name: str, value: Any) -> Iterator[None]:
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
