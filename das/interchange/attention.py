"""Attention of new tokens to keys and values that were captured earlier, in place of a Hugging Face network's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

KeysValues = dict[int, tuple[Tensor, Tensor]]
"""Attention module (by id) → keys and values, each (rows, heads, length, head size)."""

NAME = "das_resume"


@dataclass
class Segment:
    """Keys and values captured earlier, and their tokens' places in the prompts (rows or 1, length), −1 for padding."""

    keys: KeysValues
    places: Tensor
    rows: slice = field(default_factory=lambda: slice(None))

    def of(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        key, value = self.keys[id(module)]
        length = self.places.shape[1]
        return key[self.rows, :, :length], value[self.rows, :, :length]


@dataclass
class Pass:
    """What attention needs to know during one forward: earlier segments, the new tokens' places, where to record.

    places: (rows, new); a network run on several copies of the rows has them one after another. record: the modules (by
    id) whose keys and values are to be kept, with what was kept.
    """

    segments: Sequence[Segment]
    places: Tensor
    record: KeysValues | None = None
    only_keys: bool = False
    _bias: dict[tuple[int | None, torch.device], list[Tensor | None]] = field(default_factory=dict)

    def bias(self, window: int | None, device: torch.device) -> list[Tensor | None]:
        """Per segment, the new tokens last: 0 where a query may look, very negative where not, (rows, queries, keys);
        None where it may look everywhere."""
        if (window, device) not in self._bias:
            places = [s.places for s in self.segments] + [self.places]
            masks = [_allowed(self.places, keys, window) for keys in places]
            self._bias[window, device] = [None if m is None else m.to(device) for m in masks]
        return self._bias[window, device]

    def keys_only(self) -> Pass:
        """The same forward, stopped as soon as its keys and values are recorded."""
        return Pass(self.segments, self.places, {} if self.record is None else self.record, only_keys=True)

    def tail(self, keys: KeysValues, keep: int) -> Pass:
        """The forward of the last `keep` tokens alone, when the keys of all are known."""
        earlier = Segment(keys, self.places[:, :-keep])
        return Pass([*self.segments, earlier], self.places[:, -keep:])


class KeysRecorded(Exception):
    """Raised inside attention when nothing but keys and values was wanted."""


def _allowed(queries: Tensor, keys: Tensor, window: int | None) -> Tensor | None:
    q, k = queries[:, :, None], keys[:, None, :]
    seen = (k >= 0) & (k <= q)
    if window is not None:
        seen = seen & (q - k < window)
    if bool((seen | (q < 0)).all()):
        return None
    return torch.where(seen, 0.0, -1e9)


CURRENT: ContextVar[Pass | None] = ContextVar("das_attention", default=None)


@contextmanager
def current(attention: Pass) -> Iterator[None]:
    """Has our attention go by this pass, for the time of a `with` block."""
    token = CURRENT.set(attention)
    try:
        yield
    finally:
        CURRENT.reset(token)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, sliding_window: int | None = None, softcap: float | None = None,
    s_aux: Tensor | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention of new tokens to earlier segments and to each other, in the signature of transformers' interface.

    query: (copies · rows, heads, new, head size). A segment with fewer rows serves every copy without being copied.
    s_aux: per head, the score of a key that gives nothing (an attention sink).
    """
    going = CURRENT.get()
    assert going is not None
    if going.record is not None:
        going.record[id(module)] = key, value = key.contiguous(), value.contiguous()
        if going.only_keys:
            raise KeysRecorded
    pairs = [segment.of(module) for segment in going.segments] + [(key, value)]
    q = query.unflatten(1, (key.shape[1], -1)) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    biases = going.bias(sliding_window, query.device)
    rows = len(going.places)
    scores = [_score(q, k, bias, softcap, rows) for (k, _v), bias in zip(pairs, biases, strict=True)]
    if s_aux is not None:
        scores.append(s_aux.to(q).view(1, *q.shape[1:3], 1, 1).expand(*q.shape[:4], 1))
    weights = torch.softmax(torch.cat(scores, -1), -1, dtype=torch.float32).to(query.dtype)
    parts = weights.split([score.shape[-1] for score in scores], -1)[: len(pairs)]
    mixed = [_unfold(_fold(w, len(v)) @ v, q) for w, (_, v) in zip(parts, pairs, strict=True)]
    return sum(mixed[1:], mixed[0]).flatten(1, 2).transpose(1, 2).contiguous(), None


def _score(q: Tensor, k: Tensor, bias: Tensor | None, softcap: float | None, rows: int) -> Tensor:
    """(copies · rows, heads, groups, new, keys): how much each query looks at each key of a segment, before the softmax."""
    score = _unfold(_fold(q, len(k)) @ k.mT, q)
    if softcap is not None:
        score = torch.tanh(score / softcap) * softcap
    if bias is not None:
        score = (score.unflatten(0, (-1, rows)) + bias[:, None, None]).flatten(0, 1)
    return score


def _fold(x: Tensor, rows: int) -> Tensor:
    """(copies · rows, heads, groups, new, n) → (rows, heads, copies · groups · new, n)."""
    folded: Tensor = x if len(x) == rows else x.unflatten(0, (-1, rows)).permute(1, 2, 0, 3, 4, 5).flatten(2, 3)
    return folded.flatten(2, 3)


def _unfold(x: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_fold`, for a tensor folded from the shape of `like` but for its last axis."""
    n, _heads, groups, new = like.shape[:4]
    if len(x) == n:
        return x.view(n, x.shape[1], groups, new, -1)
    apart = x.view(len(x), x.shape[1], n // len(x), groups, new, -1)
    return apart.permute(2, 0, 1, 3, 4, 5).flatten(0, 1)


def configurations(model: nn.Module) -> list[Any]:
    """Every configuration in a network that says which attention it uses."""
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    return list({id(config): config for config in found if hasattr(config, "_attn_implementation")}.values())


@contextmanager
def attending(configs: Sequence[Any], attention: Pass) -> Iterator[None]:
    """The network with our attention in place of its own, for the time of a `with` block."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = NAME
    try:
        with current(attention):
            yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name
