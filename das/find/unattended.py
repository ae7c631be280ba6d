"""Unattended: a grid trainer that goes without Lightning's, for those who time single steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from das.find.grid import GridTrainer


class Unattended(GridTrainer):
    """Steps by hand: no logger, no checkpoint, no check of validation pairs."""

    steps_done = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.to(self.data[0].lm.device)
        made = self.configure_optimizers()
        self._parts = made["optimizer"], made["lr_scheduler"]["scheduler"]

    @property
    def global_step(self) -> int:
        return self.steps_done

    def optimizers(self, *_: Any) -> Any:
        return self._parts[0]

    def lr_schedulers(self) -> Any:
        return self._parts[1]

    def manual_backward(self, loss: Tensor, *_: Any, **__: Any) -> None:
        loss.backward()

    def log_dict(self, *_: Any, **__: Any) -> None:
        pass
