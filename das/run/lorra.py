"""LoRRA: settings of an adapter that moves what a network represents (low-rank representation adaptation, Zou et al. 2023,
arXiv 2310.01405)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from das.errors import DasError, shown
from das.ground.checks import check_known, number, short_text, whole

MANY = 10**9


@dataclass(frozen=True)
class Lorra:
    """The target of an adapter: h + α·(h⁺ − h⁻) + β·v where the answer is made, h being what the network itself has there.

    plus, minus: two ways to ask the same, whose contrast is h⁺ − h⁻: a shift (see `das.task.plain_shifts.parse_shift`), by
        name or as a mapping, in which `set` gives inputs other values. alpha: α. beta, along: β, and the folder of the
        alignment whose first direction is v. layers: where; by default every second from 10/32 to 20/32 of the depth. rank,
        lr, batch, steps: of the training.
    """

    plus: Any = None
    minus: Any = None
    alpha: float = 5.0
    beta: float = 0.0
    along: str | None = None
    layers: list[int] | None = None
    rank: int = 8
    lr: float = 3e-4
    batch: int = 16
    steps: int = 70

    def __post_init__(self) -> None:
        if (self.plus is None) != (self.minus is None) or (self.plus is None and self.along is None):
            raise DasError("lorra needs plus and minus, two ways to ask, or along, the folder of an alignment, or all three")
        if (self.along is None) != (self.beta == 0):
            raise DasError("lorra: beta and along go together: how much, and the folder of the alignment whose direction it is")
        if self.along is not None:
            short_text("along", self.along)
        for name in ("alpha", "beta"):
            object.__setattr__(self, name, number(f"lorra: {name}", getattr(self, name)))
        for name, most in (("rank", 2**16), ("batch", 10**6), ("steps", MANY)):
            object.__setattr__(self, name, whole(f"lorra: {name}", getattr(self, name), 1, most))
        if self.layers is not None:
            object.__setattr__(self, "layers", _layers(self.layers))

    @classmethod
    def of(cls, given: Any) -> Lorra:
        """From a mapping. DasError for anything else."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise DasError(f"lorra is {shown(given)}: expected a mapping, such as {{plus: …, minus: …}}")
        check_known(cls, given, "setting of lorra")
        return cls(**given)

    def layers_of(self, depth: int) -> list[int]:
        """The target layers in a network of so many."""
        found = list(range(round(depth * 10 / 32), round(depth * 20 / 32) + 1, 2)) if self.layers is None else self.layers
        if outside := [layer for layer in found if layer >= depth]:
            raise DasError(f"lorra: layer {outside[0]} is a target, and the network has layers 0 to {depth - 1}")
        return found


def _layers(given: Any) -> list[int]:
    if not isinstance(given, list | tuple) or not given:
        raise DasError(f"lorra: layers are {shown(given)}: expected a list of numbers, such as [10, 12, 14]")
    return [whole("lorra: layers", each, 0, 10**6) for each in given]
