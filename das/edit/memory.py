"""Memory: the matrix by which an MLP writes, seen as a linear associative memory: it answers a key k with W k + b (Kohonen
1972; of MLPs Geva et al. 2021, arXiv 2012.14913)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from das.errors import DasError
from das.ground.checks import whole
from das.network.lm import LM
from das.network.site import Spot

KEY, VALUE = "mlp_neurons", "mlp_output"
"""The components that are its keys and its answers."""


@dataclass(frozen=True)
class Memory:
    """Of one layer. name: of the matrix among the network's parameters; turned: it is kept as (keys, values), as GPT-2's
    Conv1D does, and not as (values, keys)."""

    layer: int
    name: str
    matrix: nn.Parameter
    turned: bool

    @classmethod
    def of(cls, lm: LM, layer: int) -> Memory:
        """DasError where a layer's MLP does not write by one plain matrix of its own."""
        whole("layer", layer, 0, lm.layers - 1)
        module = lm.tap(VALUE, layer).module
        turned, matrix = type(module).__name__ == "Conv1D", getattr(module, "weight", None)
        plain = isinstance(matrix, nn.Parameter) and matrix.dim() == 2 and matrix.is_floating_point()
        if not plain or not (turned or type(module) is nn.Linear):
            raise DasError(
                f"the MLP of layer {layer} of {lm.name} writes by a {type(module).__name__}: expected a torch.nn.Linear or a "
                "Conv1D with plain weights; merge adapters, and load without quantisation"
            )
        assert isinstance(matrix, nn.Parameter)
        names = [name for name, each in lm.model.named_parameters(remove_duplicate=False) if each is matrix]
        if len(names) != 1:
            raise DasError(f"{lm.name} uses the matrix {names[0]} in {len(names)} places: an edit would reach all of them")
        return cls(layer, names[0], matrix, turned)

    @property
    def key(self) -> Spot:
        return KEY, self.layer

    @property
    def value(self) -> Spot:
        return VALUE, self.layer

    def kept(self, values: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of values keysᵀ, turned as the matrix is. values: (values, r); keys: (keys, r)."""
        return (keys, values) if self.turned else (values, keys)
