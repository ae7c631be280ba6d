"""Unembedding: what a direction at a site says to the network's head, token by token (as a logit lens reads it).

Between the last layer and the logits lie a norm and the head's matrix W. To its own input, scaled to unit size and perhaps
centred, the norm applies a scale γ; so a direction u of the hidden state moves the logits by a positive multiple of W (γ ∘ u)
(u centred first where the norm centres), as far as it does not change the size of the state. Nothing here goes by the names of
modules: what lies where is found in one forward pass, and held against what the network itself computed.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.network.closeness import EXACT, apart, tolerance
from das.network.lm import LM
from das.network.site import parse_component
from das.network.taps import Tap, first_tensor
from das.task.rendered import Prompts

AT_ONCE = 2**14
"""Rows of the head's matrix that are multiplied at once."""


@dataclass(frozen=True)
class Unembedding:
    """The head's matrix (vocabulary, d), the last norm's scale (d,), whether it centres, and what it is called (empty: there is
    no norm)."""

    matrix: Tensor
    scale: Tensor
    centres: bool
    norm: str

    def read(self, directions: Tensor) -> Tensor:
        """Of directions (d, n) of the last hidden state: the logits that each adds, up to one positive factor, less their mean
        over all tokens, which changes no probability. (vocabulary, n)"""
        centred = directions - directions.mean(0) if self.centres else directions
        scaled = (self.scale[:, None] * centred.to(self.scale)).float()
        logits = torch.cat([rows.float() @ scaled for rows in self.matrix.split(AT_ONCE)]).cpu()
        return logits - logits.mean(0)

    @property
    def words(self) -> str:
        """What is done to a direction, in a sentence."""
        centring = "centred and " if self.centres else ""
        through = f"{centring}scaled as by the last norm ({self.norm})" if self.norm else "as it is (there is no last norm)"
        return (
            f"Each column, {through}, times the head's matrix, less the mean over all tokens: by how much a step along the "
            "column raises a token's logit, up to one positive factor, were it read at once by the head. A column's sign is "
            "arbitrary."
        )


@torch.no_grad()
def unembedding(lm: LM, prompts: Prompts) -> Unembedding:
    """Of a network, found while it answers some prompts. DasError where more than a norm lies between its last layer and its
    head, as in encoders, or nothing is known to be the head."""
    if not len(lm.blocks):
        raise DasError(f"{type(lm.model).__name__} is not made of layers: what its head reads is not known")
    passed, logits = _passed(lm, prompts)
    head = _head(lm, passed, logits)
    (given, raw), last = passed[head], passed[lm.blocks[-1]][1]
    if not hasattr(head, "weight") or given.shape != last.shape or not _follows(logits, raw):
        raise DasError(f"{type(lm.model).__name__} answers by more than a head over its last layer")
    matrix: Any = head.weight
    if torch.equal(given, last):
        return Unembedding(matrix, torch.ones_like(given[0]), False, "")
    norm = next((m for m, (i, o) in passed.items() if torch.equal(i, last) and torch.equal(o, given)), None)
    if norm is None:
        raise DasError(f"{type(lm.model).__name__} has more than a norm between its last layer and its head")
    return Unembedding(matrix, *_norm(norm, given.shape[1]), type(norm).__name__)


Passed = dict[nn.Module, tuple[Tensor, Tensor]]
"""Module → what it was given and what it gave for the last token, (1, entries) each."""


def _passed(lm: LM, prompts: Prompts) -> tuple[Passed, Tensor]:
    """What passes every module while the network answers the first of some prompts, and the logits."""
    passed: Passed = {}

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given, gave = first_tensor(args or tuple(kwargs.values())), first_tensor(output)
        if given is not None and gave is not None and given.is_floating_point() and min(given.dim(), gave.dim()) > 1:
            passed[module] = given.flatten(0, -2)[-1:], gave.flatten(0, -2)[-1:]

    with ExitStack() as stack:
        for module in lm.model.modules():
            stack.callback(module.register_forward_hook(note, with_kwargs=True).remove)
        return passed, lm.logits(prompts.take(np.arange(1)))


def _head(lm: LM, passed: Passed, logits: Tensor) -> nn.Module:
    """The module that gives the logits from a hidden state."""
    find = getattr(lm.model, "get_output_embeddings", None)
    own = find() if find else None
    known = [m for m, (_, gave) in passed.items() if isinstance(m, nn.Linear) and gave.shape == logits.shape]
    head = own if own in passed else known[-1] if known else None
    if head is None or lm.blocks[-1] not in passed:
        raise DasError(f"{type(lm.model).__name__}: what gives its logits is not known")
    return head


def _follows(logits: Tensor, raw: Tensor) -> bool:
    """Whether the logits rank the tokens as the head's output does, whatever is done to it after."""
    if raw.shape != logits.shape:
        return False
    ranked = logits.gather(1, raw.float().argsort(1))
    return bool((ranked.diff(dim=1) >= -EXACT * ranked.abs().amax()).all())


def _norm(norm: nn.Module, d: int) -> tuple[Tensor, bool]:
    """A norm's scale, and whether it centres. DasError where it is neither a LayerNorm nor an RMSNorm."""
    try:
        exact = copy.deepcopy(norm).float()
        place = next(iter([*exact.parameters(), *exact.buffers()]), torch.zeros(1)).device
        more, fewer = (d + 1) // 2, d // 2
        unit = torch.tensor([(fewer / more) ** 0.5] * more + [-((more / fewer) ** 0.5)] * fewer, device=place)
        up, down = exact(unit[None])[0], exact(-unit[None])[0]
        scale, bias = (up - down) / (2 * unit), (up + down) / 2
        trial = 1 + torch.randn(d, generator=torch.Generator().manual_seed(0)).to(place)
        for centres in (True, False):
            state = trial - trial.mean() if centres else trial
            if apart(exact(trial[None])[0], scale * state / state.square().mean().sqrt() + bias) < 10 * EXACT:
                return scale, centres
    except Exception as error:  # whatever a module says that takes no vectors
        raise DasError(f"the last norm, a {type(norm).__name__}, cannot be tried by itself ({error})") from error
    raise DasError(f"the last norm, a {type(norm).__name__}, is neither a LayerNorm nor an RMSNorm")


# --- from a component to the hidden state ---

WRITERS = "block_output", "attention_output", "mlp_output", "heads", "mlp_neurons"
"""Components that write into the hidden state, the last two through an output projection."""


@torch.no_grad()
def written(lm: LM, component: str, layer: int, directions: Tensor, prompts: Prompts) -> Tensor:
    """What directions (size, n) of a component's vectors are in the hidden state, (d, n): themselves, or for heads and neurons
    what the output projection makes of them. DasError for components that do not add to the hidden state, or that pass a norm
    or a factor first."""
    parsed = parse_component(component)
    name = parsed[0] if parsed else component
    if name not in WRITERS:
        raise DasError(f"{component} is not added to the hidden state: its directions say nothing to the head by themselves")
    if name != "block_output":
        _check_adds(lm, layer, prompts)
    if name in WRITERS[:3]:
        return directions
    tap = lm.tap(component, layer)
    matrix = _matrix(tap)
    return matrix[:, slice(None) if tap.index is None else tap.index.to(matrix.device)].float() @ directions.to(matrix.device)


def _matrix(tap: Tap) -> Tensor:
    """Of a linear module, (out, in)."""
    weight: Any = tap.module.weight
    return weight.T if type(tap.module).__name__ == "Conv1D" else weight  # type: ignore[no-any-return]


def _check_adds(lm: LM, layer: int, prompts: Prompts) -> None:
    """DasError unless a layer's output is its input, and what attention and MLP give, as they give it."""
    block, parts = lm.blocks[layer], [lm.tap(name, layer).module for name in ("attention_output", "mlp_output")]
    passed, _ = _passed(lm, prompts)
    if block in passed and all(part in passed for part in parts):
        given, gave = passed[block]
        if apart(sum((passed[part][1].float() for part in parts), given.float()), gave.float()) < tolerance(lm.model):
            return
    raise DasError(
        f"what attention and MLP give passes through something else in {type(block).__name__} before it is added to the hidden "
        "state: how a direction of it gets to the head is not known"
    )
