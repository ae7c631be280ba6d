"""The engine: capture a network's activations once, then re-run only what a swap at a site can change.

A change at layer ℓ, position p leaves every layer ≤ ℓ and every position < p as they were. `ResumeEngine` therefore
re-runs positions ≥ p through the layers above ℓ, attending to captured keys and values; its logits equal those of the full
patched forward to float error. `HookEngine` is that full forward, for networks where resuming is not possible.
`make_engine` tests the first against the second on the network at hand and returns the one to use.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.attention import KeysValues, Pass, Segment, attending, configurations
from das.errors import DasError
from das.lm import LM, places, whole_input
from das.prompt import Encoded
from das.site import Spot, entry_of
from das.standins import Skip, Start, Tail
from das.taps import Tap, patching, recording

EXACT, ROUNDED = 1e-4, {torch.float16: 0.05, torch.bfloat16: 0.1}
"""By how much an engine may differ from full forwards, relative to the largest logit (see `self_test`). Rounding alone makes
.03 in bfloat16 at 32 layers of width 2,048 with random weights, and more in wider ones."""

FAR = 1e4
"""By so much the logits of tokens that are no answers are lowered, see `Among`."""


@dataclass
class Capture:
    """What one batch left behind on its way through the network.

    offset: the column from which keys and values are held; first: the column from which vectors are held.
    places: (rows, columns from offset on), the tokens' places in their prompts, −1 for padding.
    vectors: spot → (rows, columns from first on, size), but for block outputs that are the next layer's inputs.
    inputs: layer → what its block was given, likewise; at the number of layers, what the last one handed on.
    logits: (rows, vocabulary), the clean answer.
    """

    prompts: Encoded
    offset: int
    first: int
    places: Tensor
    vectors: dict[Spot, Tensor]
    inputs: dict[int, Tensor] = field(default_factory=dict)
    keys: KeysValues = field(default_factory=dict)
    logits: Tensor | None = None

    def at(self, spot: Spot, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """Values at the columns (rows, n) of the prompts: (rows, n, size). rows: which rows of the capture, in order."""
        rows = torch.arange(len(columns)) if rows is None else rows
        held = self.vectors[spot] if spot in self.vectors else self.inputs[spot[1] + 1]
        vectors: Tensor = held[rows[:, None], columns - self.first if held.shape[1] > 1 else columns * 0]
        return vectors


class HookEngine:
    """Full forwards, with the values at a site replaced on the way. Works on any network."""

    def __init__(self, lm: LM, prefix: Any = None) -> None:
        self.lm = lm

    @torch.no_grad()
    def capture(self, prompts: Encoded, spots: Collection[Spot], resumable: bool = True, first: int = 0) -> Capture:
        """Values at the spots, from column `first` on; `resumable` is for the other engine."""
        rows, width = prompts.ids.shape
        vectors: dict[Spot, Tensor] = {}
        with recording({spot: self.lm.tap(*spot) for spot in spots}, rows, width - first, vectors):
            logits = self.lm.logits(prompts)
        return Capture(prompts, 0, first, places(prompts), vectors, logits=logits)

    def resume(self, capture: Capture, spot: Spot, columns: Tensor, values: Tensor, rows: slice = slice(None)) -> Tensor:
        """Answers with the values at a spot replaced.

        columns: (rows, n) of the prompts; values: (copies, rows, n, size), each copy another replacement; rows: which
        rows of the capture these are. Returns (copies, rows, vocabulary).
        """
        copies, n = values.shape[:2]
        with patching(self.lm.tap(*spot), columns.to(values.device).repeat(copies, 1), values.flatten(0, 1)):
            logits = self.lm.logits(capture.prompts.take(rows), copies)
        return logits.view(copies, n, -1)

    def rows_at_once(self, spot: Spot, tokens: int, gradients: bool = True) -> int:
        """How many rows may be resumed at once when the prompts have `tokens` columns from the site on."""
        return _rows(self.lm, self.lm.layers if gradients else 1, tokens + 64)


class ResumeEngine:
    """Re-runs only the layers above a site and the positions from it on. For causal decoders with plain attention.

    prefix: token ids (1-d) that every prompt begins with; they are run once, here.
    """

    def __init__(self, lm: LM, prefix: Any = None) -> None:
        self.lm = lm
        self.prefix = np.asarray([] if prefix is None else prefix, np.int64)
        self._configs = configurations(lm.model)
        self._shared: list[Segment] = []
        if len(self.prefix):
            place = torch.arange(len(self.prefix))[None]
            attention = Pass([], place, {})
            with torch.no_grad():
                self._forward(attention, lm.blocks, input_ids=torch.from_numpy(self.prefix)[None].to(lm.device))
            self._shared = [Segment(attention.record or {}, place)]

    def _forward(self, attention: Pass, blocks: Sequence[nn.Module], **inputs: Tensor) -> Tensor:
        """One forward of the network with our attention; logits after the last token."""
        copies = next(iter(inputs.values())).shape[0] // len(attention.places)
        place = attention.places.clamp(min=0).to(self.lm.device).repeat(copies, 1)
        with attending(self._configs, attention), self.lm.with_blocks(blocks), whole_input(self.lm.model):
            out = self.lm.model(position_ids=place, use_cache=False, **inputs, **self.lm.keep_last())
        logits: Tensor = out.logits[:, -1].float()
        return logits

    @torch.no_grad()
    def capture(self, prompts: Encoded, spots: Collection[Spot], resumable: bool = True, first: int = 0) -> Capture:
        """Values at the spots, from column `first` on, and where it is to be resumed there, what that needs: the inputs, keys
        and values of the layers above, and the clean logits; without that, nothing above the deepest spot is run."""
        offset, (rows, width) = len(self.prefix), prompts.ids.shape
        self._check_prefix(prompts)
        place = places(prompts)[:, offset:]
        place = torch.where(place < offset, -1, place)
        keep, depth = width - max(first, offset), self.lm.layers
        top = depth - 1 if resumable else max(layer for _, layer in spots)
        entries = sorted({entry_of(spot) for spot in spots}) if resumable else []
        tail = width if not resumable else keep if depth in entries or any(layer == top for _, layer in spots) else 1
        blocks = [*self.lm.blocks[:top], Tail(self.lm.blocks[top], tail), *[Skip()] * (depth - 1 - top)]
        attention = Pass(self._shared, place, {} if entries else None)
        vectors: dict[Any, Tensor] = {}
        taps: dict[Any, Tap] = {entry: self._input(entry) for entry in entries}
        taps |= {spot: self.lm.tap(*spot) for spot in spots if not resumable or spot[0] != "block_output"}
        with recording(taps, rows, keep, vectors):
            logits = self._forward(attention, blocks, input_ids=torch.from_numpy(prompts.ids[:, offset:]).to(self.lm.device))
        inputs = {entry: vectors.pop(entry) for entry in entries}
        keys = self._needed(attention.record or {}, entries)
        return Capture(prompts, offset, width - keep, place, vectors, inputs, keys, logits if resumable else None)

    def _input(self, layer: int) -> Tap:
        """Where a layer's input passes: the output of the one below."""
        return Tap(self.lm.blocks[layer - 1]) if layer else Tap(self.lm.blocks[0], input=True)

    def _needed(self, keys: KeysValues, entries: Sequence[int]) -> KeysValues:
        """The keys and values of the layers that can be run again."""
        above = {id(m) for block in self.lm.blocks[min(entries, default=0) :] for m in block.modules()} if entries else ()
        return {module: pair for module, pair in keys.items() if module in above}

    def _check_prefix(self, prompts: Encoded) -> None:
        n = len(self.prefix)
        start = prompts.ids.shape[1] - prompts.lengths
        if n and not all((prompts.ids[r, s : s + n] == self.prefix).all() for r, s in enumerate(start)):
            raise DasError("a prompt does not begin with the prefix that this engine was made for")

    def resume(self, capture: Capture, spot: Spot, columns: Tensor, values: Tensor, rows: slice = slice(None)) -> Tensor:
        """Answers with the values at a spot replaced.

        columns: (rows, n) of the prompts; values: (copies, rows, n, size), each copy another replacement; rows: which
        rows of the capture these are. Returns (copies, rows, vocabulary).
        """
        copies, n = values.shape[:2]
        start, entry, tap = int(columns.min()), entry_of(spot), self.lm.tap(*spot)
        hidden = capture.inputs[entry][rows, start - capture.first :].repeat(copies, 1, 1)
        columns, values = (columns - start).to(hidden.device).repeat(copies, 1), values.flatten(0, 1)
        inside = entry == spot[1]
        if not inside:
            hidden = tap.put(hidden, columns, values)
        place, new = capture.places[rows], start - capture.offset
        attention = Pass([*self._shared, Segment(capture.keys, place[:, :new], rows)], place[:, new:])
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)  # `hidden` comes in their place
        with patching(tap, columns, values) if inside else nullcontext():
            logits = self._forward(attention, self._above(entry, hidden, inside), input_ids=ids)
        return logits.view(copies, n, -1)

    def rows_at_once(self, spot: Spot, tokens: int, gradients: bool = True) -> int:
        """How many rows may be resumed at once when the prompts have `tokens` columns from the site on."""
        return _rows(self.lm, max(1, self.lm.layers - entry_of(spot)) if gradients else 1, tokens)

    def _above(self, entry: int, hidden: Tensor, patched: bool) -> list[nn.Module]:
        """The network's layers from `entry` on, started with hidden states; the last is run for the last token alone,
        unless it is the one to be patched."""
        depth = self.lm.layers
        if entry == depth:
            return [*[Skip()] * (depth - 1), Start(hidden, Skip())]
        above = list(self.lm.blocks[entry:])
        if not (patched and len(above) == 1):
            above[-1] = Tail(above[-1], 1)
        return [*[Skip()] * entry, Start(hidden, above[0]), *above[1:]]


class Among:
    """An engine whose network answers by the likeliest of some tokens: an untrained one never happens upon them otherwise.

    tokens: the answers. All other logits are lowered beyond any of theirs.
    """

    def __init__(self, engine: Engine, tokens: Any) -> None:
        self.lm: LM = engine.lm
        self.capture: Any = engine.capture
        self.rows_at_once: Any = engine.rows_at_once
        self._engine, self._tokens = engine, torch.from_numpy(tokens)

    def resume(self, *given: Any) -> Tensor:
        """See the engine's."""
        logits = self._engine.resume(*given)
        others = torch.ones(logits.shape[-1], dtype=torch.bool).index_fill(0, self._tokens, False)
        return logits - FAR * others.to(logits.device)


Engine = HookEngine | ResumeEngine | Among


WORKING = 2**26
"""Bytes that one re-run may take on a CPU, where larger ones would only miss the caches."""


def _rows(lm: LM, layers: int, tokens: int) -> int:
    """How many rows there is room for when so many layers are held at once (a backward pass needs them all, a forward pass
    one), at 24 hidden states a token and layer; on CUDA in an eighth of all memory."""
    cuda = lm.device.type == "cuda"
    room = torch.cuda.get_device_properties(lm.device).total_memory / 8 if cuda else WORKING
    return max(1, int(room / (layers * tokens * 24 * lm.width * lm.dtype.itemsize)))


# --- which engine ---


@torch.no_grad()
def self_test(
    lm: LM, engine: type[ResumeEngine] | type[HookEngine] = ResumeEngine, components: Sequence[str] = ("block_output",),
    prefix: Any = (1, 2), length: int = 9,
) -> float:  # fmt: skip
    """Largest relative difference between `engine` and the full patched forward, on random prompts of `length` and a little
    fewer tokens that begin with `prefix`, with patches at several places, in every third layer.

    Try it with the length and prefix in use: windows, chunks and position scaling show only in long prompts.
    """
    prefix = np.asarray(prefix, np.int64)
    prompts = _some_prompts(lm, prefix, max(length, len(prefix) + 7))
    layers = sorted({*range(0, lm.layers, 3), lm.layers - 1})
    spots = [(component, layer) for component in components for layer in layers]
    reference, candidate = HookEngine(lm), engine(lm, prefix)
    width = prompts.ids.shape[1]
    clean, capture = reference.capture(prompts, spots), candidate.capture(prompts, spots, first=width - 6)
    worst = 0.0
    for spot in spots:
        columns = width - torch.tensor([[5, 4], [3, 2], [2, 1]])
        size = clean.vectors[spot].shape[-1]
        copies = 2 if spot is spots[0] else 1  # full forwards of a large network take long
        values = torch.randn(copies, 3, 2, size, generator=torch.Generator().manual_seed(spot[1])).to(lm.device)
        values = values * clean.vectors[spot].float().std()
        expected = reference.resume(clean, spot, columns, values)
        found = candidate.resume(capture, spot, columns, values)
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    return worst


def _some_prompts(lm: LM, prefix: Any, width: int) -> Encoded:
    """Three random prompts of `width` and two fewer tokens that begin with the prefix."""
    network: Any = lm.model
    lengths = np.array([width, max(width - 2, len(prefix) + 1), width])
    ids = np.random.default_rng(0).integers(0, network.get_input_embeddings().weight.shape[0], (3, width))
    for row, length in enumerate(lengths):
        ids[row, : width - length] = 0
        ids[row, width - length :][: len(prefix)] = prefix
    return Encoded(ids, lengths)


def _resumable(lm: LM, components: Sequence[str]) -> bool:
    """Whether every component lies within its own layer."""
    if not len(lm.blocks):
        return False
    taps = [(layer, lm.tap(component, layer).module) for component in components for layer in range(lm.layers)]
    return all(any(module is m for m in lm.blocks[layer].modules()) for layer, module in taps)


def make_engine(lm: LM, prefix: Any = None, components: Sequence[str] | None = None, length: int = 9) -> Engine:
    """The fastest engine that gives this network's exact answers to prompts of up to `length` tokens; DasError where not
    even a full forward can be patched. A module that is no Hugging Face network gets full forwards untried, since nothing
    says what it takes. components: what is to be swapped; by default block outputs, where there are blocks."""
    if components is None and not len(lm.blocks):
        return HookEngine(lm)
    components = ("block_output",) if components is None else components
    if not hasattr(lm.model, "config"):
        for component in components:
            lm.tap(component, 0)
        return HookEngine(lm)
    trial = (1, 2) if prefix is None or not len(prefix) else prefix
    most = ROUNDED.get(lm.dtype, EXACT)
    try:
        if _resumable(lm, components) and self_test(lm, ResumeEngine, components, trial, length) <= most:
            return ResumeEngine(lm, prefix)
    except (TypeError, AttributeError, RuntimeError, KeyError, IndexError, ValueError, AssertionError):
        pass
    try:
        self_test(lm, HookEngine, components)
    except DasError:
        raise
    except Exception as error:
        raise DasError(f"{type(lm.model).__name__} cannot be patched ({type(error).__name__}: {error})") from error
    return HookEngine(lm)
