"""Net: a frozen network that takes tensors and reads no words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from das.errors import DasError, shown, unknown
from das.network.components import find_tap
from das.network.feeding import Feeding, Read
from das.network.lm import LM
from das.network.taps import Tap, recording
from das.task.answers import Answers, Real
from das.task.rendered import Indices, Prompts


class Net(LM):
    """Any module from tensors to scores (rows, classes), or to numbers (rows,) or (rows, size); the sibling of `das.LM`.

    model: in evaluation mode from now on, its parameters without gradients.
    blocks: paths of the modules that are its layers, in order; by default its children, lists and sequences opened.
    cells: paths of modules of one's own that are run once for each place of an input (`nn.GRUCell`, `nn.GRU` and their like are
        known).
    read: what the network gives → scores or numbers, where they are not what it gives.
    """

    def __init__(
        self, model: nn.Module, name: str = "net", blocks: Sequence[str] | None = None, cells: Sequence[str] = (),
        read: Read | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(model, nn.Module):
            raise DasError(f"Net: the model is {shown(model)}: expected a torch.nn.Module")
        super().__init__(model, None, name)
        self.names = _children(self.model) if blocks is None else list(blocks)
        if not self.names:
            raise DasError(f"Net: {type(model).__name__} has no modules inside: nothing in it can be swapped")
        self._modules = [_module(self.model, path) for path in self.names]
        self._cells = [_module(self.model, path) for path in cells]
        self.asking = Feeding(self.model, read)  # type: ignore[assignment]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self._modules

    def tap(self, component: str, layer: int) -> Tap:
        return find_tap(self._modules[layer], self.model, component, layer, (1, 1), self._cells)

    def size(self, component: str, layer: int, prompt: Prompts | None = None) -> int:
        if (component, layer) not in self._sizes:
            if prompt is None:
                raise DasError("the size of a component shows in an input: give one")
            found: dict[str, Tensor] = {}
            with torch.no_grad(), recording({component: self.tap(component, layer).over(prompt)}, 1, 1, found):
                self.logits(prompt.take([0]))
            if component not in found:
                raise DasError(f"component {component!r} of layer {layer} is not run when the network answers")
            self._sizes[component, layer] = found[component].shape[-1]
        return self._sizes[component, layer]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters(), torch.zeros(())).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters(), torch.zeros(())).dtype

    def check_answers(self, prompts: Prompts, answers: Answers, numbers: Indices) -> None:
        """DasError unless the network takes such inputs, alone as together, and has every answer's class, or gives as many
        numbers as answers have."""
        self.asking.settle(prompts)
        given = self.logits(prompts.take([0])).shape[-1]
        if isinstance(answers, Real):
            if given != (size := answers.values.shape[1]):
                raise DasError(f"an answer is {size} number(s), and {self.name} gives {given}")
        elif (largest := int(numbers.max(initial=0))) >= given:
            raise DasError(
                f"an answer is class {largest}, and {self.name} gives scores of {given} classes, from 0 on. If what it "
                "gives are numbers, give das.Tensors tolerance="
            )

    def like(self, model: nn.Module, name: str) -> Net:
        """Another network of the same shape."""
        paths = {id(module): path for path, module in self.model.named_modules()}
        cells = [paths[id(cell)] for cell in self._cells]
        asking: Any = self.asking
        return Net(model, name, self.names, cells, asking.own_read)


def _children(model: nn.Module) -> list[str]:
    """Paths of a module's children in order, with those that only hold others, or run one after another, opened."""
    found = []
    for name, child in model.named_children():
        inside = [f"{name}.{each}" for each, _ in child.named_children()]
        found += inside if isinstance(child, nn.ModuleList | nn.Sequential) else [name]
    return found


def _module(model: nn.Module, path: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(model.named_modules())
    if not isinstance(path, str) or path not in known or not path:
        raise unknown(f"module of {type(model).__name__}:", path, [name for name in known if name])
    return known[path]
