"""Calls: what a forward of the user's own says of its tokens, and where in it the places of prompts lie."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.network.asking import text_config
from das.network.lm import LM
from das.task.rendered import Indices

Where = Callable[[Sequence[Indices]], Indices]
"""Each row's prompt as token ids, unpadded → the numbers of the tokens to be swapped, from 0 in each. (rows, n)"""

CACHES = ("past_key_values", "cache_params", "state", "mems")
"""What networks call what they keep of earlier tokens."""


@dataclass(frozen=True)
class Call:
    """One forward. ids: (rows, new tokens); attention_mask: as it is given; past: how many columns an earlier forward has left
    in a cache, None where that cannot be told."""

    ids: Tensor
    attention_mask: Any
    past: int | None

    @property
    def mask(self) -> Tensor | None:
        """Which tokens, earlier ones too, are no padding; None where all are. DasError for a mask that says more than that."""
        return padding_of(self.attention_mask)


def read_call(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """What a module is called with. DasError where there are no token ids."""
    signature = inspect.signature(module.forward)
    given = dict(signature.bind_partial(*args, **kwargs).arguments)
    more = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
    given |= given.pop(more, {})
    first = next(iter(signature.parameters))
    ids = given.get("input_ids" if "input_ids" in signature.parameters else first)
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        raise DasError("a swap is held in calls with token ids (rows, tokens): this one has none, such as with inputs_embeds")
    return Call(ids, given.get("attention_mask"), _past(given))


def padding_of(mask: Any) -> Tensor | None:
    """A mask of tokens. DasError for any other."""
    if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
        raise DasError("a swap is held in calls whose attention_mask is (rows, tokens): this one says more than that")
    return mask


def given_prompts(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    """The prompts (rows, tokens) that a `generate` is called with, and which of their tokens are no padding."""
    ids = kwargs.get("input_ids", kwargs.get("inputs", args[0] if args else None))
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        raise DasError("a swap is held while text is generated from token ids (rows, tokens): give input_ids")
    return ids, padding_of(kwargs.get("attention_mask"))


def _past(given: Mapping[str, Any]) -> int | None:
    cache = next((given[name] for name in CACHES if given.get(name) is not None), None)
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except (AttributeError, ValueError):  # of a state that grows no longer
        return None


def columns_of(lm: LM, ids: Tensor, mask: Tensor | None, where: Where) -> Tensor:
    """The columns (rows, n) to be swapped in a batch of prompts, padded on either side."""
    rows, real = ids.cpu().numpy(), real_of(lm, ids, mask)
    numbers = where([row[at] for row, at in zip(rows, real, strict=True)])
    return torch.from_numpy(np.stack([at[some] for at, some in zip(real, numbers, strict=True)]))


def real_of(lm: LM, ids: Tensor, mask: Tensor | None) -> list[Indices]:
    """The columns of each prompt's tokens that are no padding."""
    if mask is None:
        _check_unpadded(lm, ids)
    held = np.ones(tuple(ids.shape), bool) if mask is None else mask.bool().cpu().numpy()
    return [np.flatnonzero(row) for row in held]


def _check_unpadded(lm: LM, ids: Tensor) -> None:
    """DasError where a prompt begins or ends with the token that stands for padding: it may be none, and nobody says so."""
    known = [getattr(thing, "pad_token_id", None) for thing in (lm.tokenizer, text_config(lm.model))]
    begin = getattr(lm.tokenizer, "bos_token_id", None)
    for pad in {pad for pad in known if isinstance(pad, int)}:
        ends = ids[:, [1 if pad == begin else 0, -1]] if ids.shape[1] > 1 else ids[:, :0]
        if bool((ends == pad).any()):
            raise DasError(
                f"a prompt begins or ends with the padding token {pad} and there is no attention_mask: give the tokenizer's, "
                "so that the place of the swap can be counted"
            )


def frame_of(lm: LM, module: nn.Module) -> tuple[nn.Module, bool]:
    """The module whose calls bring the tokens whose vectors pass through another: the network, or of an encoder–decoder the
    encoder or the decoder; and whether that reads the answer, not the prompt. DasError where it is part of neither."""
    network: Any = lm.model
    if not lm.halves:
        return network, False
    for frame, answer in ((network.get_encoder(), False), (network.get_decoder(), True)):
        if any(module is inner for inner in frame.modules()):
            return frame, answer
    raise DasError(f"{type(module).__name__} is part of neither the encoder nor the decoder: its tokens cannot be told")
