"""The engine: capture a network's activations once, then re-run only what a swap at a site can change.

A change at layer ℓ, position p leaves every layer ≤ ℓ and every position < p as they were. `ResumeEngine` therefore
re-runs positions ≥ p through the layers above ℓ, attending to captured keys and values; its logits equal those of the full
patched forward to float error. `HookEngine` is that full forward, for networks where resuming is not possible.
`make_engine` tests the first against the second on the network at hand and returns the one to use.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.lm import LM
from das.prompt import Encoded

KeysValues = dict[int, tuple[Tensor, Tensor]]
"""Attention module (by id) → keys and values, each (rows, heads, length, head size)."""


@dataclass
class Capture:
    """What one batch left behind on its way through the network.

    columns before `offset` (the shared prefix) are not held: `hidden[layer]` is (rows, length, d), `positions` is
    (rows, length), the tokens' places in their prompts, −1 for padding. logits: (rows, vocabulary) after the last token.
    """

    prompts: Encoded
    positions: Tensor
    offset: int
    hidden: dict[int, Tensor]
    keys: KeysValues = field(default_factory=dict)
    logits: Tensor | None = None

    def vectors(self, layer: int, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """Hidden states after `layer` at (rows, n) columns of the prompts: (rows, n, d). rows: which of them, in order."""
        rows = torch.arange(len(columns)) if rows is None else rows
        vectors: Tensor = self.hidden[layer][rows[:, None], columns - self.offset]
        return vectors


class HookEngine:
    """Full forwards, with the hidden states at a site replaced on the way. Works wherever blocks give hidden states."""

    def __init__(self, lm: LM, prefix: Any = None) -> None:
        self.lm = lm

    def _forward(self, prompts: Encoded, repeat: int = 1) -> Tensor:
        positions = _positions(prompts, self.lm.device)
        out = self.lm.model(
            torch.from_numpy(prompts.ids).to(self.lm.device).repeat(repeat, 1),
            attention_mask=(positions >= 0).long().repeat(repeat, 1),
            position_ids=positions.clamp(min=0).repeat(repeat, 1),
            use_cache=False,
            **_keep_last(self.lm.model),
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits

    @torch.no_grad()
    def capture(self, prompts: Encoded, layers: Sequence[int], resumable: bool = True) -> Capture:
        """Hidden states after `layers`; `resumable` is for the other engine."""
        hidden: dict[int, Tensor] = {}
        with _recording(self.lm.blocks, layers, hidden):
            logits = self._forward(prompts)
        return Capture(prompts, _positions(prompts, self.lm.device), 0, hidden, logits=logits)

    def resume(self, capture: Capture, layer: int, columns: Tensor, values: Tensor) -> Tensor:
        """Logits after the last token with the hidden states after `layer` replaced.

        columns: (rows, n) of the prompts; values: (copies, rows, n, d), each copy another replacement.
        Returns (copies, rows, vocabulary).
        """
        copies, rows = values.shape[:2]
        row = torch.arange(copies * rows)[:, None]

        def replace(_: nn.Module, __: Any, output: Any) -> Any:
            hidden = _hidden(output).clone()
            hidden[row, columns.repeat(copies, 1)] = values.flatten(0, 1).to(hidden)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = self.lm.blocks[layer].register_forward_hook(replace)
        try:
            logits = self._forward(capture.prompts, copies)
        finally:
            handle.remove()
        return logits.view(copies, rows, -1)


class ResumeEngine:
    """Re-runs only the layers above a site and the positions from it on. For causal decoders with plain attention.

    prefix: token ids (1-d) that every prompt begins with; they are run once, here.
    """

    def __init__(self, lm: LM, prefix: Any = None) -> None:
        self.lm = lm
        self.prefix = np.asarray([] if prefix is None else prefix, np.int64)
        self._shared: _Segment | None = None
        if len(self.prefix):
            ids = torch.from_numpy(self.prefix)[None].to(lm.device)
            place = torch.arange(len(self.prefix), device=lm.device)[None]
            record: KeysValues = {}
            with torch.no_grad():
                self._call(_Pass([], place, record), input_ids=ids)
            self._shared = _Segment(record, place)

    def _call(self, attention: _Pass, blocks: Sequence[nn.Module] | None = None, **inputs: Any) -> Tensor:
        """One forward of the network with our attention; logits after the last token."""
        copies = next(iter(inputs.values())).shape[0] // len(attention.positions)
        with _attending(self.lm.model, attention), self.lm.with_blocks(blocks or list(self.lm.blocks)):
            out = self.lm.model(
                position_ids=attention.positions.clamp(min=0).repeat(copies, 1), use_cache=False,
                **inputs, **_keep_last(self.lm.model),
            )  # fmt: skip
        logits: Tensor = out.logits[:, -1].float()
        return logits

    @torch.no_grad()
    def capture(self, prompts: Encoded, layers: Sequence[int], resumable: bool = True) -> Capture:
        """Hidden states after `layers` and, where it is to be resumed, keys and values of the layers above them and the
        clean logits; without that, nothing above the deepest layer is run."""
        offset = len(self.prefix)
        self._check_prefix(prompts)
        positions = _positions(prompts, self.lm.device)[:, offset:]
        positions = torch.where(positions < offset, -1, positions)
        record: KeysValues = {}
        hidden: dict[int, Tensor] = {}
        blocks = list(self.lm.blocks)
        used = blocks if resumable else blocks[: max(layers) + 1] + [_Skip()] * (len(blocks) - max(layers) - 1)
        shared = [self._shared] if self._shared else []
        ids = torch.from_numpy(prompts.ids[:, offset:]).to(self.lm.device)
        with _recording(blocks, layers, hidden):
            logits = self._call(_Pass(shared, positions, record if resumable else None), used, input_ids=ids)
        return Capture(prompts, positions, offset, hidden, record, logits if resumable else None)

    def _check_prefix(self, prompts: Encoded) -> None:
        n = len(self.prefix)
        start = prompts.ids.shape[1] - prompts.lengths
        if n and not all((prompts.ids[r, s : s + n] == self.prefix).all() for r, s in enumerate(start)):
            raise DasError("a prompt does not begin with the prefix that this engine was made for")

    def resume(self, capture: Capture, layer: int, columns: Tensor, values: Tensor) -> Tensor:
        """Logits after the last token with the hidden states after `layer` replaced.

        columns: (rows, n) of the prompts; values: (copies, rows, n, d), each copy another replacement.
        Returns (copies, rows, vocabulary).
        """
        copies, rows = values.shape[:2]
        columns = columns - capture.offset
        start = int(columns.min())
        hidden = capture.hidden[layer][:, start:].expand(copies, -1, -1, -1).clone()
        hidden[:, torch.arange(rows)[:, None], columns - start] = values.to(hidden)
        hidden = hidden.flatten(0, 1)
        past = _Segment(capture.keys, capture.positions[:, :start], start)
        attention = _Pass([*([self._shared] if self._shared else []), past], capture.positions[:, start:])
        above = list(self.lm.blocks)[layer + 1 :]
        blocks = [_Skip()] * layer + [_Put(hidden)] + above
        return self._call(attention, blocks, inputs_embeds=hidden).view(copies, rows, -1)


Engine = HookEngine | ResumeEngine


class _Skip(nn.Module):
    """In place of a block that need not be run."""

    attention_type = "full_attention"

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states


class _Put(_Skip):
    """In place of the patched block: gives the patched hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.hidden


@contextmanager
def _recording(blocks: Any, layers: Sequence[int], into: dict[int, Tensor]) -> Iterator[None]:
    """Keeps what the given blocks return, for the time of a `with` block."""

    def keeper(layer: int) -> Any:
        return lambda _module, _inputs, output: into.__setitem__(layer, _hidden(output))

    handles = [blocks[layer].register_forward_hook(keeper(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _positions(prompts: Encoded, device: torch.device) -> Tensor:
    """(rows, length): each token's place in its prompt, −1 for padding."""
    start = prompts.ids.shape[1] - prompts.lengths
    place = np.arange(prompts.ids.shape[1]) - start[:, None]
    return torch.from_numpy(np.maximum(place, -1)).to(device)


def _keep_last(model: nn.Module) -> dict[str, int]:
    """Asks for the logits of the last position only, where the network can."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


# --- attention over captured and new keys ---


@dataclass
class _Segment:
    """Keys and values captured earlier, the first `length` columns of them, and their tokens' places (rows or 1, length)."""

    keys: KeysValues
    positions: Tensor
    length: int | None = None

    def of(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        key, value = self.keys[id(module)]
        return key[:, :, : self.length], value[:, :, : self.length]


@dataclass
class _Pass:
    """What attention needs to know during one forward: earlier segments, the new tokens' places, where to record."""

    segments: list[_Segment]
    positions: Tensor
    record: KeysValues | None = None
    _bias: dict[int | None, list[Tensor | None]] = field(default_factory=dict)

    def bias(self, window: int | None) -> list[Tensor | None]:
        """Per segment, the new tokens last: 0 where a query may look, very negative where not, (rows, queries, keys);
        None where it may look everywhere."""
        if window not in self._bias:
            places = [s.positions for s in self.segments] + [self.positions]
            self._bias[window] = [_allowed(self.positions, keys, window) for keys in places]
        return self._bias[window]


def _allowed(queries: Tensor, keys: Tensor, window: int | None) -> Tensor | None:
    q, k = queries[:, :, None], keys[:, None, :]
    seen = (k >= 0) & (k <= q)
    if window is not None:
        seen = seen & (q - k < window)
    if bool((seen | (q < 0)).all()):
        return None
    return torch.where(seen, 0.0, -1e9)


_CURRENT: ContextVar[_Pass | None] = ContextVar("das_attention", default=None)
_NAME = "das_resume"


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, sliding_window: int | None = None, softcap: float | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention of new tokens to earlier segments and to each other, in the signature of transformers' interface.

    query: (copies · rows, heads, new, head size). A segment with fewer rows serves every copy without being copied.
    """
    current = _CURRENT.get()
    assert current is not None
    if current.record is not None:
        current.record[id(module)] = (key, value)
    pairs = [segment.of(module) for segment in current.segments] + [(key, value)]
    groups = query.shape[1] // key.shape[1]
    q = query.unflatten(1, (key.shape[1], groups)) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    scores = []
    for (k, _v), bias in zip(pairs, current.bias(sliding_window), strict=True):
        score = _fold(q, len(k)) @ k.mT
        score = _unfold(score, q)
        if softcap is not None:
            score = torch.tanh(score / softcap) * softcap
        if bias is not None:
            rows = len(current.positions)
            score = (score.unflatten(0, (-1, rows)) + bias[:, None, None]).flatten(0, 1)
        scores.append(score)
    weights = torch.softmax(torch.cat(scores, -1), -1, dtype=torch.float32).to(query.dtype)
    parts = weights.split([k.shape[2] for k, _ in pairs], -1)
    mixed = [_unfold(_fold(w, len(v)) @ v, q) for w, (_, v) in zip(parts, pairs, strict=True)]
    return sum(mixed[1:], mixed[0]).flatten(1, 2).transpose(1, 2).contiguous(), None


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


@contextmanager
def _attending(model: nn.Module, attention: _Pass) -> Iterator[None]:
    """The network with our attention in place of its own, for the time of a `with` block."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _attention)
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs = {id(config): config for config in found if hasattr(config, "_attn_implementation")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    token = _CURRENT.set(attention)
    for config in configs.values():
        config._attn_implementation = _NAME
    try:
        yield
    finally:
        _CURRENT.reset(token)
        for key, config in configs.items():
            config._attn_implementation = before[key]


# --- which engine ---


@torch.no_grad()
def self_test(lm: LM, engine: type[ResumeEngine] | type[HookEngine] = ResumeEngine) -> float:
    """Largest relative difference between `engine` and the full patched forward, on random prompts of several lengths
    that share a prefix, with patches at several places and in every third layer."""
    rng = np.random.default_rng(0)
    network: Any = lm.model
    lengths, width, vocabulary = np.array([9, 7, 9]), 9, network.get_input_embeddings().weight.shape[0]
    ids = rng.integers(0, vocabulary, (3, width))
    for row, length in enumerate(lengths):
        ids[row, : width - length] = 0
        ids[row, width - length : width - length + 2] = [1, 2]
    prompts = Encoded(ids, lengths)
    layers = sorted({*range(0, lm.layers, 3), lm.layers - 1})
    reference, candidate = HookEngine(lm), engine(lm, np.array([1, 2]))
    clean, capture = reference.capture(prompts, layers), candidate.capture(prompts, layers)
    worst = 0.0
    for layer in layers:
        columns = torch.tensor([[4, 5], [6, 7], [7, 8]])
        values = torch.randn(2, 3, 2, lm.width, generator=torch.Generator().manual_seed(layer)).to(lm.device)
        values = values * clean.hidden[layer].float().std()
        expected = reference.resume(clean, layer, columns, values)
        found = candidate.resume(capture, layer, columns, values)
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    return worst


def make_engine(lm: LM, prefix: Any = None) -> Engine:
    """The fastest engine that gives this network's exact answers; DasError where not even a full forward can be patched."""
    tolerance = 1e-4 if lm.dtype == torch.float32 else 5e-2
    try:
        if self_test(lm) <= tolerance:
            return ResumeEngine(lm, prefix)
    except (TypeError, AttributeError, RuntimeError, KeyError, IndexError, ValueError, AssertionError):
        pass
    try:
        self_test(lm, HookEngine)
    except Exception as error:
        raise DasError(f"{type(lm.model).__name__} cannot be patched ({type(error).__name__}: {error})") from error
    return HookEngine(lm)
