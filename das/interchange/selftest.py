"""The door: what a network answers to a few prompts of the task, tried before it is believed, and which engine it gets.

A few prompts of several lengths are asked alone, as the library would; then together; then patched with what was captured,
which must change nothing, in every component that is asked for. `ResumeEngine` is for networks whose answers it gives, as
tried on that network; others get `HookEngine`; those that fail this too are refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from das.errors import DasError
from das.interchange.capture import Capture
from das.interchange.engine import Engine, HookEngine, ResumeEngine
from das.interchange.patch import Patch
from das.network.closeness import apart, tolerance
from das.network.lm import LM
from das.network.net import Net
from das.network.parts import a_few
from das.network.site import Spot
from das.network.steps import CellTap
from das.network.taps import first_tensor
from das.task.encoded import Encoded
from das.task.fed import Feed
from das.task.rendered import Prompts

Kind = type[ResumeEngine] | type[HookEngine]


def make_engine(
    lm: LM, prefix: Any = None, components: Sequence[str] | None = None, length: int = 9, prompts: Prompts | None = None,
    layers: Sequence[int] | None = None,
) -> Engine:  # fmt: skip
    """The fastest engine that gives this network's exact answers to prompts of up to `length` tokens; DasError where not even
    a full forward can be patched, with the figures.

    components: what is to be swapped; by default block outputs, where there are blocks. prompts: some that will be asked, all
    of which begin with `prefix`; by default random ones. layers: where it is to be swapped; by default everywhere.
    """
    prefix = np.asarray([] if prefix is None else prefix, np.int64)
    if prompts is None and (not hasattr(lm.model, "config") or isinstance(lm, Net)):
        return _untried(lm, components)
    some = a_few(_some_prompts(lm, prefix, length) if prompts is None else prompts)
    lm.asking.settle(some)
    asked = some.asked()
    wanted = (["block_output"] if len(lm.blocks) else []) if components is None else list(components)
    swapped = range(lm.layers) if layers is None else layers
    spots = [(component, layer) for component in wanted for layer in _thinned(swapped)]
    _check_runs(lm, [(component, layer) for component in wanted for layer in swapped], asked)
    if not (reason := _unfit(lm, wanted) or _off(lm, wanted, prefix, some)):
        return ResumeEngine(lm, prefix)
    engine = HookEngine(lm, why=reason)
    _check_swaps(engine, asked, spots)
    return engine


def tried(lm: LM, spots: Sequence[Spot], prompts: Prompts) -> HookEngine:
    """The engine of full forwards, for a few swaps, where trying the other one would take longer than they do. DasError where
    the network does not answer these prompts as it does each alone, or runs a component otherwise than once."""
    some = a_few(prompts)
    lm.asking.settle(some)
    _check_runs(lm, spots, some)
    return HookEngine(lm)


def _untried(lm: LM, components: Sequence[str] | None) -> HookEngine:
    """For a module that is no network of transformers, of which nothing says what random prompts it takes."""
    for component in components or ():
        lm.tap(component, 0)
    return HookEngine(lm, why="it is no network of transformers")


@torch.no_grad()
def self_test(
    lm: LM, engine: Kind = ResumeEngine, components: Sequence[str] = ("block_output",), prefix: Any = (1, 2), length: int = 9,
    prompts: Prompts | None = None,
) -> float:  # fmt: skip
    """Largest relative difference between `engine` and the network's own answers, clean (each prompt alone) and patched (full
    forwards), with patches at several places, in every third layer, one by one and all at once.

    prompts: some that begin with `prefix`; by default random ones of `length` and a little fewer tokens. Try it with those in
    use: windows, chunks and position scaling show only in long prompts.
    """
    prefix = np.asarray(prefix, np.int64)
    some = _some_prompts(lm, prefix, length) if prompts is None else prompts
    spots = [(component, layer) for component in components for layer in _thinned(range(lm.layers))]
    reference, candidate = HookEngine(lm), engine(lm, prefix)
    end = some.width - some.tail  # what follows are answers, in which nothing is ever swapped
    reach = min(6, int(some.lengths.min()) - some.tail - len(prefix))
    clean, capture = reference.capture(some, spots), candidate.capture(some, spots, first=end - reach)
    assert capture.logits is not None
    worst, patches = apart(capture.logits, lm.asking.alone(some)), list[Patch]()
    for spot in spots:
        columns = end - 1 - torch.stack([(torch.arange(min(2, reach)) + row) % reach for row in range(len(some))])
        values = _noise(clean.vectors[spot], columns, spot[1], copies=2 if spot is spots[0] else 1)
        expected = reference.resume(clean, spot, columns, values)
        worst = max(worst, apart(candidate.resume(capture, spot, columns, values), expected))
        patches.append(Patch(spot, columns, values[:1], partial(torch.lerp, values[:1], weight=0.5)))
    if patches:  # all of them in one run, each on what the earlier ones have made of it
        worst = max(worst, apart(candidate.patched(capture, patches), reference.patched(clean, patches)))
    return worst


def _noise(vectors: torch.Tensor, columns: torch.Tensor, seed: int, copies: int = 1) -> torch.Tensor:
    """Random values to put at some columns, spread as those that stand there."""
    size, generator = vectors.shape[-1], torch.Generator().manual_seed(seed)
    values = torch.randn(copies, *columns.shape, size, generator=generator).to(vectors.device)
    return values * vectors.float().std(correction=0)


def _thinned(layers: Sequence[int]) -> list[int]:
    """Every third layer, and the last: full forwards of a large network take long."""
    return sorted({*layers[::3], layers[-1]})


def _some_prompts(lm: LM, prefix: Any, length: int) -> Encoded:
    """Random prompts of `length` and two fewer tokens that begin with the prefix; for an encoder, with its mask at the end."""
    width = max(length, len(prefix) + 7)
    lengths = np.array([width, max(width - 2, len(prefix) + 1), width])
    ids = np.random.default_rng(0).integers(0, lm.words, (3, width))
    if (mask := lm.mask) is not None:
        ids[ids == mask] = (mask + 1) % lm.words
        ids[:, -1] = mask
    for row, size in enumerate(lengths):
        ids[row, : width - size] = 0
        ids[row, width - size :][: len(prefix)] = prefix
    return Encoded(ids, lengths)


def _unfit(lm: LM, components: Sequence[str]) -> str:
    """Why a network cannot be resumed above a site, where that is plain before it is tried; empty where it is not."""
    if isinstance(lm, Net):
        return "it reads no words"
    if not len(lm.blocks):
        return "it is not made of layers that das knows"
    if not hasattr(lm.model, "config"):
        return "it is no network of transformers"
    taps = [(layer, lm.tap(component, layer).module) for component in components for layer in range(lm.layers)]
    if all(any(module is m for m in lm.blocks[layer].modules()) for layer, module in taps):
        return ""
    return "a component lies outside the layers"


def _off(lm: LM, components: Sequence[str], prefix: Any, prompts: Prompts) -> str:
    """Why a network that was resumed above a site does not answer as it does; empty where it does."""
    try:
        error = self_test(lm, ResumeEngine, components, prefix, prompts=prompts)
    except Exception as raised:  # whatever a network raises that is run in parts
        return f"it cannot be run from a layer on ({type(raised).__name__})"
    return "" if error <= tolerance(lm.model) else f"resumed above a site, it is off by {error:.2g} of the largest logit"


# --- what a full forward must do ---


@torch.no_grad()
def _check_runs(lm: LM, spots: Sequence[Spot], prompts: Prompts) -> None:
    """DasError unless every component is run exactly once in a forward (a cell once a step), on a vector for each token of the
    prompt, or on one vector."""
    one = prompts.take([int(prompts.lengths.argmin())])
    taps, counts, shapes = {spot: lm.tap(*spot).over(one) for spot in spots}, Counter[Spot](), dict[Spot, tuple[int, ...]]()

    def note(value: Any, before: int, spot: Spot) -> None:
        counts[spot] = before + 1 if before else counts[spot] + 1
        tensor = taps[spot].taken(value) if isinstance(taps[spot], CellTap) else first_tensor(value)
        shapes[spot] = () if tensor is None else tuple(tensor.shape)

    with ExitStack() as stack:
        for spot, tap in taps.items():
            stack.callback(tap.watch(partial(note, spot=spot)).remove)
        lm.logits(one)
    for spot, tap in taps.items():
        where = f"component {spot[0]!r} of layer {spot[1]}"
        if isinstance(tap, CellTap):
            _check_steps(where, counts[spot], one)
        else:
            _check_once(where, counts[spot])
            _check_shape(where, shapes[spot], one)


def _check_once(where: str, count: int) -> None:
    if count != 1:
        times = f"{count} times" if count else "not"
        raise DasError(
            f"{where} is {times} run when the network answers one prompt: what is captured would not be what is patched"
            + (". Name a module that is run once" if count else ", or nothing is. Name one that is run")
        )


def _check_steps(where: str, count: int, one: Prompts) -> None:
    """Of a cell: its steps are the places of a prompt."""
    if count != one.lengths[0]:
        raise DasError(
            f"{where} makes {count} steps when the network answers a prompt of {one.lengths[0]} places: which step is which "
            + ("is not known; say so with das.Tensors(…, places=)" if isinstance(one, Feed) else "is not known")
        )


def _check_shape(where: str, shape: tuple[int, ...], one: Prompts) -> None:
    """A vector for each token of one prompt, or one vector for all of it."""
    tokens = int(one.lengths[0])
    if one.whole and shape and shape[0] == 1:
        return
    image = len(shape) > 3 and shape[0] == 1 and math.prod(shape[2:]) in (1, tokens)
    flat = len(shape) == 2 and shape[0] in (1, tokens)
    if not (image or flat or (len(shape) == 3 and shape[0] == 1 and shape[1] in (1, tokens))):
        raise DasError(
            f"{where} hands on values of shape {shape or 'no tensor'} for a prompt of {tokens} tokens: "
            f"expected (1, {tokens}, size), a vector for each token. Name a module inside or beside it that gives that"
        )
    columns = math.prod(shape[2:]) if image else shape[0] if flat else shape[1]
    several = [name for name, at in one.positions.items() if at.shape[1] > 1]
    if several and columns == 1 < tokens:
        raise DasError(f"{where} hands on one vector, and position {several[0]!r} covers several: give a position of one place")


def _check_swaps(engine: HookEngine, prompts: Prompts, spots: Sequence[Spot]) -> None:
    """DasError unless patching with what was captured changes nothing, and another patch does something, in some layer of each
    component, with a gradient."""
    if not spots:
        return
    clean = engine.capture(prompts, spots)
    shortest = int(prompts.lengths.min())
    columns = prompts.width - 1 - torch.arange(shortest).expand(len(prompts), -1)
    moved = dict.fromkeys((component for component, _ in spots), 0.0)
    for spot in spots:
        _check_put_back(engine, clean, spot, columns)
        moved[spot[0]] = max(moved[spot[0]], _moved(engine, clean, spot, columns))
    for component, most in moved.items():
        if most == 0:
            raise DasError(
                f"component {component!r} of {_name(engine)}: whatever is put there, in any layer, the answers stay as they are"
            )


@torch.no_grad()
def _check_put_back(engine: HookEngine, clean: Capture, spot: Spot, columns: torch.Tensor) -> None:
    assert clean.logits is not None
    same = engine.resume(clean, spot, columns, clean.at(spot, columns)[None])[0]
    if (error := apart(same, clean.logits)) > tolerance(engine.lm.model):
        raise DasError(
            f"{_name(engine)} cannot be patched: putting back what was captured in component {spot[0]!r} of layer {spot[1]} "
            f"moves its answers by {error:.2g} of the largest logit"
        )


def _moved(engine: HookEngine, clean: Capture, spot: Spot, columns: torch.Tensor) -> float:
    """How far other values move the answers, of the largest logit. DasError where no gradient comes from there."""
    values = _noise(clean.vectors[spot], columns, spot[1]).requires_grad_()
    other = engine.resume(clean, spot, columns, values)[0]
    if not other.requires_grad:
        raise DasError(
            f"no gradient comes from the answers of {_name(engine)} to component {spot[0]!r} of layer {spot[1]} (quantised?): "
            "load it with plain weights"
        )
    assert clean.logits is not None
    return apart(other.detach(), clean.logits)


def _name(engine: HookEngine) -> str:
    return type(engine.lm.model).__name__
