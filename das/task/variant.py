"""Variant: a question as it is asked, and what a shift may do to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

from das.causal.columns import Columns
from das.causal.inputs import Inputs
from das.causal.model import CausalModel
from das.errors import DasError
from das.task.form import Form
from das.task.tokenizer import Tokenizer

BASE = "base"
"""What the task as it stands is called among its shifts."""


@dataclass(frozen=True)
class Variant:
    """One way to ask: the words, the inputs, and the causal model that answers."""

    prompt: Form
    inputs: Inputs
    model: CausalModel

    def run(self, inputs: Mapping[str, Any]) -> Columns:
        """Every variable's column for rows of its inputs."""
        return self.model.over(self.inputs).run(inputs)


class Change:
    """What all shifts share. `order`: where a change comes in a composition, whatever place it was written at: whole prompts
    are replaced before words in them are, and what is put around them comes last."""

    order: ClassVar[int] = 0

    @property
    def replaces(self) -> bool:
        """Whether it puts another prompt in place of the whole one."""
        return False

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        """The question as it is put under this shift. tokenizer: the network's, which a chat is written for."""
        raise NotImplementedError

    def __add__(self, other: Change) -> Composed:
        return Composed((*_parts(self), *_parts(other)))


@dataclass(frozen=True)
class Composed(Change):
    """Several shifts at once."""

    parts: tuple[Change, ...]

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        whole = [part for part in self.parts if part.replaces]
        if len(whole) > 1:
            raise DasError("two shifts of a composition replace the whole prompt: compose with Reword or Context instead")
        return reduce(lambda now, part: part.apply(now, tokenizer), sorted(self.parts, key=lambda part: part.order), asked)


def _parts(change: Change) -> tuple[Change, ...]:
    return change.parts if isinstance(change, Composed) else (change,)
