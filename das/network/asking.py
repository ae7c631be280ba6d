"""Asking: how token ids are put to a network, so that what it answers is what the library itself would have answered.

Prompts of several lengths may be padded on the left and the network told so, by a mask or by places. Not every network hears
that: some count places through the padding, some run through it, some take token ids alone. What a network hears is found by
trial, on real prompts, against each of them alone and unpadded; what hears nothing is asked one length at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.network.closeness import apart, tolerance
from das.network.parts import Part, a_few, beginnings, joined, part_of, places, steps_of, tokens
from das.task.encoded import Encoded
from das.task.rendered import Indices, Prompts
from das.task.tokenizer import Tokenizer


@dataclass(frozen=True)
class Way:
    """padded: prompts of several lengths at once. told: what the network is given beside token ids."""

    padded: bool
    told: tuple[str, ...]

    def __str__(self) -> str:
        return f"{'padded' if self.padded else 'one length at a time'}, with {' and '.join(self.told) or 'token ids alone'}"


WAYS = (
    Way(True, ("attention_mask",)),
    Way(True, ("attention_mask", "position_ids")),
    Way(True, ("position_ids",)),
    Way(True, ()),
    Way(False, ("attention_mask",)),
    Way(False, ()),
    Way(False, ("position_ids",)),
    Way(False, ("attention_mask", "position_ids")),
)
"""In the order in which they are tried. Places are given only where a mask alone does not do: many networks count them in a
way of their own."""


class Asking:
    """How one network is asked.

    way: how prompts of several lengths are; None until it has been tried (see `settle`).
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.way: Way | None = None
        arguments = inspect.signature(model.forward).parameters
        self.takes = frozenset(arguments)
        self._needs = {
            name for name, a in arguments.items() if a.default is a.empty and name in ("attention_mask", "position_ids")
        }

    def ways(self) -> list[Way]:
        """Those that the network's arguments allow."""
        return [way for way in WAYS if self.takes.issuperset(way.told) and self._needs.issubset(way.told)]

    def parts(self, asked: Prompts) -> list[Part]:
        """What is run together of a batch: everything, or the prompts of one length at a time."""
        prompts = tokens(asked)
        every, lengths = np.arange(len(prompts)), np.unique(prompts.lengths)
        if len(lengths) > 1 and self.way is None:
            self.settle(prompts)
        if len(lengths) < 2 or (self.way and self.way.padded):
            return [part_of(prompts, every)]
        return [part_of(prompts, every[prompts.lengths == length]) for length in lengths]

    def answer(self, part: Part, copies: int = 1) -> Tensor:
        """Logits (copies · rows, vocabulary) in answer to a part of a batch, by one forward; of prompts that are followed by
        the beginning of an answer, those of every step (see `steps_of`)."""
        even = len(np.unique(part.prompts.lengths)) < 2
        return self._ask(part, self._unpadded if even or self.way is None else self.way, copies)

    @property
    def _unpadded(self) -> Way:
        """As a tokenizer of the library would have it: with a mask of ones, where that is taken."""
        return next(way for way in self.ways() if not way.padded)

    def _ask(self, part: Part, way: Way, copies: int = 1) -> Tensor:
        taken, said = self._apart(part.prompts)
        ids = torch.from_numpy(taken.ids).masked_fill(places(taken) < 0, self._padding)
        given = self._told(taken, way.told, copies)
        last: dict[str, Any] = self.keep_last(part.prompts.steps)
        if "use_cache" in self.takes:
            last["use_cache"] = False
        with whole_input(self.model):
            return self._read(ids.to(self._device).repeat(copies, 1), given | last, said.repeat(copies, 1))

    def _apart(self, prompts: Encoded) -> tuple[Encoded, Tensor]:
        """What goes in as prompts, and the beginning of the answer (rows, tail) on the device, which an encoder–decoder takes
        apart from the prompt, as its decoder's."""
        said = torch.from_numpy(prompts.ids[:, prompts.ids.shape[1] - prompts.tail :]).to(self._device)
        return (prompts.asked() if self.decodes else prompts), said

    @property
    def decodes(self) -> bool:
        """Whether answers are written by a decoder of its own."""
        return "decoder_input_ids" in self.takes

    def width(self, prompts: Prompts) -> int:
        """How many columns of the prompts pass through the layers that are swapped in."""
        return prompts.width - (prompts.tail if self.decodes else 0)

    def _told(self, prompts: Encoded, names: Collection[str], copies: int = 1) -> dict[str, Tensor]:
        """What the network is told of the prompts beside their token ids."""
        place = places(prompts)
        told = {"attention_mask": (place >= 0).long(), "position_ids": place.clamp(min=0)}
        return {name: told[name].to(self._device).repeat(copies, 1) for name in names}

    @torch.no_grad()
    def alone(self, asked: Prompts) -> Tensor:
        """Logits (rows, vocabulary) of each prompt by itself, unpadded, with nothing given but what the network
        cannot do without; of every step (see `steps_of`), each asked for by itself, if there is more than one."""
        prompts = tokens(asked)
        rows = [part_of(prompts, np.array([row])).prompts for row in range(len(prompts))]
        if not prompts.tail:
            return torch.cat([self._alone(one) for one in rows])
        return torch.cat([torch.stack([self._alone(begun) for begun in beginnings(one)], 1) for one in rows])

    def _alone(self, one: Encoded) -> Tensor:
        taken, said = self._apart(one)
        logits = self._read(torch.from_numpy(taken.ids).to(self._device), self._told(taken, self._needs), said)
        return logits[:, -1] if one.tail else logits

    def settle(self, prompts: Prompts) -> float:
        """Finds the first way in which the network answers a few prompts of several lengths as it answers each alone, and says
        by how much they differ (relative to the largest logit). DasError where there is none, with the figures.

        A way that was found before is kept as long as it holds for these prompts too.
        """
        some = a_few(tokens(prompts))
        expected, figures = self._reference(some), []
        for way in [way for way in self.ways() if self.way is None or way == self.way or not way.padded]:
            error = self._off(some, way, expected)
            if isinstance(error, float) and error <= tolerance(self.model):
                self.way = way
                return error
            figures.append(f"{way}: {error if isinstance(error, str) else f'off by {error:.2g} of the largest logit'}")
        raise DasError(
            f"{type(self.model).__name__} does not answer prompts together as it answers each of them alone "
            f"({'; '.join(figures)}): das cannot ask it"
        )

    def _reference(self, some: Encoded) -> Tensor:
        try:
            expected = self.alone(some)
        except DasError:
            raise
        except Exception as error:
            longest = int(some.lengths.max())
            raise DasError(
                f"{type(self.model).__name__} does not answer a prompt of {some.lengths.min()} to {longest} tokens, given as "
                f"token ids alone ({_first_line(error)}): does it take such prompts?"
            ) from error
        if not bool(expected.isfinite().all()):
            raise DasError(
                f"{type(self.model).__name__} answers with numbers that are not finite (NaN or infinite logits): its weights "
                "are broken, or overflow in this dtype"
            )
        return expected

    @torch.no_grad()
    def _off(self, some: Encoded, way: Way, expected: Tensor) -> float | str:
        """By how much answers asked in this way differ from those expected, or why there are none."""
        try:
            parts = [part_of(some, rows) for rows in _grouped(some, way)]
            found = joined(parts, [self._ask(part, way) for part in parts])
        except Exception as error:  # whatever a network makes of what it does not expect
            return _first_line(error)
        return apart(found, expected)

    # --- what is given, and where the answer is ---

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def _padding(self) -> int:
        """What stands before shorter prompts: some networks count places by it."""
        known = [getattr(text_config(self.model), "pad_token_id", None), getattr(self.tokenizer, "pad_token_id", None)]
        return next((token for token in known if isinstance(token, int) and token >= 0), 0)

    def keep_last(self, steps: int = 1) -> dict[str, Any]:
        """Asks for the logits of the last positions only, where the network can."""
        return {"logits_to_keep": steps} if "logits_to_keep" in self.takes else {}

    def _read(self, ids: Tensor, given: Mapping[str, Any], said: Tensor) -> Tensor:
        """Logits where the answer is: after the last token; at the mask of an encoder; at the first token of an
        encoder–decoder's answer. said: the beginning of the answer, (rows, tail)."""
        steps = said.shape[1] + 1
        if self.decodes:
            begun = torch.full((len(ids), 1), self._start, device=ids.device)
            given = {**given, "decoder_input_ids": torch.cat([begun, said], 1)}
        output = self.model(input_ids=ids, **given) if "input_ids" in self.takes else self.model(ids)
        logits: Tensor = getattr(output, "logits", output)
        mask = getattr(self.tokenizer, "mask_token_id", None)
        masked = mask is not None and reads_mask(self.model)
        if steps > 1 and (logits.dim() == 2 or masked):
            raise DasError(
                f"{type(self.model).__name__} gives one token in answer to a prompt, and an answer here has {steps}: choose "
                "answers of one token, or let the first alone be read: Prompt(…, first_token=True)"
            )
        if logits.dim() == 2:
            return logits.float()
        if mask is None or not masked:
            return steps_of(logits, steps)
        return logits[torch.arange(len(ids)), the_mask(ids, mask)].float()

    @cached_property
    def _start(self) -> int:
        """The token that an encoder–decoder's answer begins with."""
        configs = [getattr(self.model, "generation_config", None), text_config(self.model)]
        known = [getattr(config, name, None) for name in ("decoder_start_token_id", "bos_token_id") for config in configs]
        for token in known:
            if token is not None:
                return int(token)
        raise DasError(f"{type(self.model).__name__} does not say what its answers begin with: set decoder_start_token_id")


def _grouped(prompts: Encoded, way: Way) -> Iterator[Indices]:
    if way.padded:
        yield np.arange(len(prompts))
    else:
        yield from (np.flatnonzero(prompts.lengths == length) for length in np.unique(prompts.lengths))


def text_config(model: nn.Module) -> Any:
    """The configuration of a network's language model; None where it has none."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def reads_mask(model: nn.Module) -> bool:
    """Whether it is an encoder, which answers in place of a mask."""
    return any("MaskedLM" in type(module).__name__ for module in model.modules())


def the_mask(ids: Tensor, mask: int) -> Tensor:
    """The column of the one mask of each prompt. DasError where there is none, or more than one."""
    masks = (ids == mask).sum(1)
    if bool((masks != 1).any()):
        count = int(masks[masks != 1][0])
        raise DasError(
            f"an encoder answers in place of a mask, and this prompt has {count or 'none'}: "
            "write the tokenizer's mask token into the template once, where the answer belongs"
        )
    return (ids == mask).int().argmax(1)


@contextmanager
def whole_input(model: Any) -> Iterator[None]:
    """Gives a network's head its one position as a tensor of its own: torch multiplies a view of it row by row, many times
    slower."""
    if (head := model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None) is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _module, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
