"""The engine: capture a network's activations once, then re-run only what a swap at a site can change.

A change at layer ℓ, position p leaves every layer ≤ ℓ and every position < p as they were. `ResumeEngine` therefore
re-runs positions ≥ p through the layers above ℓ, attending to captured keys and values; its logits equal those of the full
patched forward to float error. `HookEngine` is that full forward, for networks where resuming is not possible;
`das.interchange.selftest` says which of them a network gets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.interchange.attention import KeysValues, Pass, Segment, attending, configurations
from das.interchange.capture import Capture, Objective
from das.interchange.forwards import slopes_of, whole_of
from das.interchange.patch import Patch, by_spot
from das.interchange.standins import Skip, Start, Tail
from das.network.asking import whole_input
from das.network.lm import LM
from das.network.parts import joined, places, steps_of, tokens
from das.network.site import Spot, entry_of
from das.network.taps import Tap, patching, recording, tracking
from das.task.encoded import Encoded
from das.task.rendered import Prompts

FAR = 1e4
"""By so much the logits of tokens that are no answers are lowered, see `Among`."""


class _Resuming:
    """What both engines have in common.

    held: `das.interchange.captures.Captures` that are kept for all who ask, see `das.interchange.score.hold`."""

    held: Sequence[Any] = ()

    def resume(self, capture: Capture, spot: Spot, columns: Tensor, values: Tensor, rows: slice = slice(None)) -> Tensor:
        """Answers with the values at one spot replaced: `patched` by a single patch without more ado."""
        return self.patched(capture, [Patch(spot, columns, values)], rows)

    def patched(self, capture: Capture, patches: Sequence[Patch], rows: slice = slice(None)) -> Tensor:
        raise NotImplementedError

    def clean(self, prompts: Prompts) -> Tensor:
        """Answers with nothing replaced, without gradients: (rows, vocabulary), or (rows, steps, vocabulary)."""
        logits: Tensor | None = self.capture(prompts, []).logits  # type: ignore[attr-defined]
        assert logits is not None
        return logits


class HookEngine(_Resuming):
    """Full forwards, with the values at a site replaced on the way. Works on any network.

    why: what is said of a network that gets this engine and not the other.
    """

    def __init__(self, lm: LM, prefix: Any = None, why: str = "") -> None:
        self.lm, self.why = lm, why

    @torch.no_grad()
    def capture(self, prompts: Prompts, spots: Collection[Spot], resumable: bool = True, first: int = 0) -> Capture:
        """Values at the spots, from column `first` on; `resumable` is for the other engine."""
        keep, taps = self.lm.asking.width(prompts) - first, self._taps(spots, prompts)
        parts, found, logits = self.lm.asking.parts(prompts), list[dict[Spot, Tensor]](), list[Tensor]()
        for part in parts:
            found.append({})
            with recording(taps, len(part.rows), keep, found[-1]):
                logits.append(self.lm.asking.answer(part))
        vectors = whole_of(parts, found, keep)
        return Capture(prompts, 0, first, places(prompts), vectors, logits=joined(parts, logits))

    def _taps(self, spots: Collection[Spot], prompts: Prompts) -> dict[Spot, Tap]:
        return {spot: self.lm.tap(*spot).over(prompts) for spot in spots}

    def patched(self, capture: Capture, patches: Sequence[Patch], rows: slice = slice(None)) -> Tensor:
        """Answers with all the patches in one forward, in the order in which the network comes to them.

        rows: which rows of the capture the patches' rows are. Returns (copies, rows, vocabulary); where the prompts have a
        tail, (copies, rows, steps, vocabulary).
        """
        copies, logits = len(patches[0].values), list[Tensor]()
        parts = self.lm.asking.parts(capture.prompts.take(rows))
        for part in parts:
            mine = [patch.take(part.rows) for patch in patches] if len(parts) > 1 else patches
            with ExitStack() as stack:
                for spot, here in by_spot(mine).items():
                    tap = self.lm.tap(*spot).over(capture.prompts)
                    stack.enter_context(patching(tap, [(patch.columns_from(part.cut), patch.new) for patch in here]))
                logits.append(self.lm.asking.answer(part, copies).unflatten(0, (copies, -1)))
        return joined(parts, logits, 1)

    def gradients(self, capture: Capture, spots: Collection[Spot], objective: Objective, rows: slice = slice(None)) -> Capture:
        """The clean answers to some rows of a capture, and in place of its vectors the gradients of a function of these answers
        with respect to the values at the spots, all by one forward and one backward for each length that is asked by itself."""
        prompts = capture.prompts.take(rows)
        keep, taps = self.lm.asking.width(prompts) - capture.first, self._taps(spots, prompts)
        parts, found, logits = self.lm.asking.parts(prompts), list[dict[Spot, list[Tensor]]](), list[Tensor]()
        for part in parts:
            found.append({})
            with tracking(taps, found[-1]):
                logits.append(self.lm.asking.answer(part))
        whole = joined(parts, logits)
        slopes = slopes_of(objective(whole), found, taps, [len(part.rows) for part in parts], keep)
        clean = whole.detach()
        return Capture(prompts, 0, capture.first, capture.places[rows], whole_of(parts, slopes, keep), logits=clean)

    def rows_at_once(self, spot: Spot, tokens: int, gradients: bool = True) -> int:
        """How many rows may be resumed at once when the prompts have `tokens` columns from the site on."""
        return _rows(self.lm, self.lm.layers if gradients else 1, tokens + 64)


class ResumeEngine(_Resuming):
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

    def _forward(self, attention: Pass, blocks: Sequence[nn.Module], steps: int = 1, **inputs: Tensor) -> Tensor:
        """One forward of the network with our attention; logits of the last steps (see `steps_of`)."""
        copies = next(iter(inputs.values())).shape[0] // len(attention.places)
        place = attention.places.clamp(min=0).to(self.lm.device).repeat(copies, 1)
        with attending(self._configs, attention), self.lm.with_blocks(blocks), whole_input(self.lm.model):
            out = self.lm.model(position_ids=place, use_cache=False, **inputs, **self.lm.asking.keep_last(steps))
        return steps_of(out.logits, steps)

    @torch.no_grad()
    def capture(self, prompts: Prompts, spots: Collection[Spot], resumable: bool = True, first: int = 0) -> Capture:
        """Values at the spots, from column `first` on, and where it is to be resumed there, what that needs: the inputs, keys
        and values of the layers above, and the clean logits; without that, nothing above the deepest spot is run."""
        offset, rows, width, ids = len(self.prefix), len(prompts), prompts.width, tokens(prompts).ids
        self._check_prefix(tokens(prompts))
        place = self._places(prompts)
        keep, depth = width - max(first, offset), self.lm.layers
        top = depth - 1 if resumable else max(layer for _, layer in spots)
        entries = sorted({entry_of(spot) for spot in spots}) if resumable else []
        wide, steps = depth in entries or any(layer == top for _, layer in spots), prompts.steps
        tail = width if not resumable else keep if wide else steps
        blocks = [*self.lm.blocks[:top], Tail(self.lm.blocks[top], tail), *[Skip()] * (depth - 1 - top)]
        attention = Pass(self._shared, place, {} if entries else None)
        vectors: dict[Any, Tensor] = {}
        taps: dict[Any, Tap] = {entry: self._input(entry) for entry in entries}
        taps |= {spot: self.lm.tap(*spot) for spot in spots if not resumable or spot[0] != "block_output"}
        with recording(taps, rows, keep, vectors):
            given = torch.from_numpy(ids[:, offset:]).to(self.lm.device)
            logits = self._forward(attention, blocks, steps, input_ids=given)
        inputs = {entry: vectors.pop(entry) for entry in entries}
        keys = self._needed(attention.record or {}, entries)
        return Capture(prompts, offset, width - keep, place, vectors, inputs, keys, logits if resumable else None)

    def _places(self, prompts: Prompts) -> Tensor:
        """Of the columns behind the prefix; −1 for padding, and for what of a prompt the prefix is."""
        offset = len(self.prefix)
        place = places(prompts)[:, offset:]
        return torch.where(place < offset, -1, place)

    def _input(self, layer: int) -> Tap:
        """Where a layer's input passes: the output of the one below."""
        return Tap(self.lm.blocks[layer - 1]) if layer else Tap(self.lm.blocks[0], input=True)

    def _needed(self, keys: KeysValues, entries: Sequence[int]) -> KeysValues:
        """The keys and values of the layers that can be run again."""
        above = {id(m) for block in self.lm.blocks[min(entries, default=0) :] for m in block.modules()} if entries else ()
        return {module: pair for module, pair in keys.items() if module in above}

    def _check_prefix(self, prompts: Encoded) -> None:
        n = len(self.prefix)
        start = prompts.width - prompts.lengths
        if n and not all((prompts.ids[r, s : s + n] == self.prefix).all() for r, s in enumerate(start)):
            raise DasError("a prompt does not begin with the prefix that this engine was made for")

    def patched(self, capture: Capture, patches: Sequence[Patch], rows: slice = slice(None)) -> Tensor:
        """Answers with all the patches in one forward, in the order in which the network comes to them. Run again are the
        layers above the first of them, for the positions from the first of theirs on.

        rows: which rows of the capture the patches' rows are. Returns (copies, rows, vocabulary); where the prompts have a
        tail, (copies, rows, steps, vocabulary).
        """
        copies, depth = len(patches[0].values), self.lm.layers
        start, entry = min(int(p.columns.min()) for p in patches), min(entry_of(p.spot) for p in patches)
        hidden = capture.inputs[entry][rows, start - capture.first :].repeat(copies, 1, 1)
        with ExitStack() as stack:
            for patch in patches:
                tap, columns = self.lm.tap(*patch.spot), patch.columns_from(start)
                if patch.spot == ("block_output", entry - 1):
                    hidden = tap.put(hidden, columns, patch.new(tap.at(hidden, columns)))
                else:
                    stack.enter_context(patching(tap, [(columns, patch.new)]))
            whole = any(p.spot[1] == depth - 1 and p.spot != ("block_output", entry - 1) for p in patches)
            logits = self._rerun(capture, rows, entry, hidden, whole)
        answers: Tensor = logits.unflatten(0, (copies, -1))
        return answers

    def gradients(self, capture: Capture, spots: Collection[Spot], objective: Objective, rows: slice = slice(None)) -> Capture:
        """The clean answers to some rows of a capture, and in place of its vectors the gradients of a function of these answers
        with respect to the values at the spots, all by one forward and one backward."""
        entry, top = min(map(entry_of, spots)), self.lm.layers - 1
        given, taps = ("block_output", entry - 1), {spot: self.lm.tap(*spot) for spot in spots}
        hidden = capture.inputs[entry][rows].detach().requires_grad_()
        values = {given: [hidden]} if given in taps else {}
        with tracking({spot: tap for spot, tap in taps.items() if spot != given}, values):
            logits = self._rerun(capture, rows, entry, hidden, whole=any(layer == top for _, layer in spots))
        (slopes,) = slopes_of(objective(logits), [values], taps, [len(hidden)], hidden.shape[1])
        prompts, place = capture.prompts.take(rows), capture.places[rows]
        return Capture(prompts, capture.offset, capture.first, place, slopes, logits=logits.detach())

    def onward(self, prompts: Prompts, entry: int, hidden: Tensor) -> Tensor:
        """Answers when the layers from `entry` on are given these hidden states, (rows, columns, d), for all columns behind the
        prefix, and each is run for all of them. (rows, vocabulary)"""
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)  # `hidden` comes in their place
        attention = Pass(self._shared, self._places(prompts))
        return self._forward(attention, self._above(entry, hidden, None), prompts.steps, input_ids=ids)

    @torch.no_grad()
    def lens(self, hidden: Tensor) -> Tensor:
        """What the network would answer if its last layer handed on these states, (rows, d): they go through the network's own
        last norm and head (the logit lens, nostalgebraist 2020). (rows, vocabulary)"""
        blocks = [*[Skip()] * (self.lm.layers - 1), Start(hidden.to(self.lm.device, self.lm.dtype)[:, None], Skip())]
        nothing = torch.zeros(len(hidden), 1, dtype=torch.long)
        return self._forward(Pass([], nothing), blocks, input_ids=nothing.to(self.lm.device))

    def rows_at_once(self, spot: Spot, tokens: int, gradients: bool = True) -> int:
        """How many rows may be resumed at once when the prompts have `tokens` columns from the site on."""
        return _rows(self.lm, max(1, self.lm.layers - entry_of(spot)) if gradients else 1, tokens)

    def _rerun(self, capture: Capture, rows: slice, entry: int, hidden: Tensor, whole: bool) -> Tensor:
        """Logits when the layers from `entry` on are given other hidden states for the last columns of some rows."""
        place = capture.places[rows]
        new = place.shape[1] - hidden.shape[1]
        attention = Pass([*self._shared, Segment(capture.keys, place[:, :new], rows)], place[:, new:])
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)  # `hidden` comes in their place
        steps = capture.prompts.steps
        return self._forward(attention, self._above(entry, hidden, None if whole else steps), steps, input_ids=ids)

    def _above(self, entry: int, hidden: Tensor, last: int | None) -> list[nn.Module]:
        """The network's layers from `entry` on, started with hidden states; the topmost is run for the `last` tokens alone,
        or for all."""
        depth = self.lm.layers
        if entry == depth:
            return [*[Skip()] * (depth - 1), Start(hidden, Skip())]
        above = list(self.lm.blocks[entry:])
        if last is not None:
            above[-1] = Tail(above[-1], last)
        return [*[Skip()] * entry, Start(hidden, above[0]), *above[1:]]


class Among(_Resuming):
    """An engine whose network answers by the likeliest of some tokens: an untrained one never happens upon them otherwise.

    tokens: for each step of the answers, theirs. All other logits are lowered beyond any of these; without steps, none are.
    """

    def __init__(self, engine: Engine, tokens: Sequence[Any]) -> None:
        self.lm: LM = engine.lm
        self.capture: Any = engine.capture
        self.rows_at_once: Any = engine.rows_at_once
        self._engine, self._tokens = engine, [torch.from_numpy(some) for some in tokens]

    def patched(self, capture: Capture, patches: Sequence[Patch], rows: slice = slice(None)) -> Tensor:
        """See the engine's."""
        return self._among(self._engine.patched(capture, patches, rows))

    def clean(self, prompts: Prompts) -> Tensor:
        """See the engine's."""
        return self._among(self._engine.clean(prompts))

    def gradients(self, capture: Capture, spots: Collection[Spot], objective: Objective, rows: slice = slice(None)) -> Capture:
        """See the engine's."""
        slopes = self._engine.gradients(capture, spots, lambda logits: objective(self._among(logits)), rows)
        return replace(slopes, logits=self._among(slopes.logits))

    def _among(self, logits: Tensor | None) -> Tensor:
        assert logits is not None
        if not self._tokens:
            return logits
        every = torch.ones(len(self._tokens), logits.shape[-1], dtype=torch.bool)
        others = torch.stack([step.index_fill(0, some, False) for step, some in zip(every, self._tokens, strict=True)])
        steps = logits.shape[-2] if len(others) > 1 else 1
        return logits - FAR * (others[:steps] if len(others) > 1 else others[0]).to(logits.device)


Engine = HookEngine | ResumeEngine | Among


WORKING = 2**26
"""Bytes that one re-run may take on a CPU, where larger ones would only miss the caches."""


def _rows(lm: LM, layers: int, tokens: int) -> int:
    """How many rows there is room for when so many layers are held at once (a backward pass needs them all, a forward pass
    one), at 24 hidden states a token and layer; on CUDA in an eighth of all memory."""
    cuda = lm.device.type == "cuda"
    room = torch.cuda.get_device_properties(lm.device).total_memory / 8 if cuda else WORKING
    return max(1, int(room / (layers * tokens * 24 * lm.width * lm.dtype.itemsize)))
