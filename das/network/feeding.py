"""Feeding: how tensors are put to a network that reads no words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError, called
from das.network.closeness import apart, tolerance
from das.network.parts import Part, a_few
from das.network.taps import first_tensor
from das.task.fed import SOLE, Feed
from das.task.rendered import Prompts

Read = Callable[[Any], Tensor]
"""What a network gives → scores (rows, classes), or numbers (rows,) or (rows, size)."""


class Feeding:
    """How one network is fed. read: where its scores are; by default in what it gives, in `logits` of it or first of several;
    of scores at each place, those at the last."""

    def __init__(self, model: nn.Module, read: Read | None = None) -> None:
        self.model, self.own_read = model, read

    def parts(self, prompts: Prompts) -> list[Part]:
        """All at once: inputs have one shape."""
        return [Part(np.arange(len(prompts)), _tensors(prompts), 0)]

    def width(self, prompts: Prompts) -> int:
        """How many columns of the inputs pass through the layers."""
        return prompts.width

    def answer(self, part: Part, copies: int = 1) -> Tensor:
        """Scores (copies · rows, classes), or numbers (copies · rows, size), by one forward."""
        given = {name: self._as_taken(tensor, copies) for name, tensor in part.prompts.tensors.items()}
        rows = copies * len(part.rows)
        shapes = ", ".join(f"{name or 'input'} {tuple(tensor.shape)}" for name, tensor in given.items())
        output = called(type(self.model).__name__, "the network to take these inputs", self._run, given, on=f" on {shapes}")
        scores = self._read(output)
        if scores.dim() == 3:
            scores = scores[:, -1]
        if scores.dim() == 1:
            scores = scores[:, None]
        if scores.dim() != 2 or len(scores) != rows:
            raise DasError(
                f"{type(self.model).__name__} gives scores of shape {tuple(scores.shape)} for {rows} inputs: expected (rows, "
                "classes); give das.Net read=, a function of what the network gives"
            )
        return scores.float()

    def _run(self, given: Mapping[str, Tensor]) -> Any:
        return self.model(given[SOLE]) if SOLE in given else self.model(**given)

    def _as_taken(self, tensor: Tensor, copies: int) -> Tensor:
        like = next(self.model.parameters(), torch.zeros(()))
        dtype = like.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(like.device, dtype).repeat(copies, *[1] * (tensor.dim() - 1))

    def _read(self, output: Any) -> Tensor:
        if self.own_read is not None:
            output = called("read of the network", "scores (rows, classes)", self.own_read, output)
        scores = first_tensor(getattr(output, "logits", output))
        if scores is None:
            raise DasError(
                f"{type(self.model).__name__} gives a {type(output).__name__}: expected a tensor (rows, classes); give das.Net "
                "read=, a function that takes it from there"
            )
        return scores

    @torch.no_grad()
    def alone(self, prompts: Prompts) -> Tensor:
        """Scores (rows, classes) of each input by itself."""
        fed = _tensors(prompts)
        return torch.cat([self.answer(Part(np.arange(1), fed.take([row]), 0)) for row in range(len(fed))])

    @torch.no_grad()
    def settle(self, prompts: Prompts) -> float:
        """By how much the network answers a few inputs together otherwise than each alone. DasError where that is more than
        rounding, or where its answers are no numbers."""
        some = a_few(_tensors(prompts))
        expected = self.alone(some)
        name = type(self.model).__name__
        if not bool(expected.isfinite().all()):
            raise DasError(f"{name} answers with numbers that are not finite (NaN or infinite): its weights are broken")
        error = apart(self.answer(self.parts(some)[0]), expected)
        if error > tolerance(self.model):
            raise DasError(
                f"{name} does not answer inputs together as it answers each of them alone (off by {error:.2g} of the largest "
                "score): it is random, or rows depend on each other; das cannot ask it"
            )
        return error


def _tensors(prompts: Prompts) -> Feed:
    """Prompts that are tensors. DasError for words."""
    if not isinstance(prompts, Feed):
        raise DasError("this network takes tensors, and the task's prompt is words: give a das.LM, or a task with das.Tensors")
    return prompts
