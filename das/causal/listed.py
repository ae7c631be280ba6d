"""Listed: what pairs say where there is no causal model: how the prompts and the swaps that they list are answered."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from das.causal.columns import Column
from das.causal.inputs import Inputs
from das.causal.model import CausalModel
from das.causal.node import Node

ANSWER = "answer"
"""The output's name."""


@dataclass(frozen=True)
class _Lookup:
    """The answer to a prompt with each variable taken from a prompt; None where nothing lists it."""

    table: Mapping[tuple[Hashable, ...], Any]

    def __call__(self, *prompts: Hashable) -> Any:
        return self.table.get(prompts)


def _itself(prompt: Column) -> Column:
    return prompt


class Listed(CausalModel):
    """A stand-in for the causal model that nobody has given: a variable's value goes by the prompt that it is taken from, and
    the answer is what is listed for a prompt and the prompts of its variables, None where nothing is. It says nothing of other
    swaps: whoever asks for more than is listed has to ask `complete` first.

    prompt: the input that holds the prompt. answers: prompt → its answer; swaps: (base, source of each variable) → answer.
    """

    complete = False

    def __init__(
        self, inputs: Inputs, prompt: str, variables: Sequence[str], answers: Mapping[Hashable, Any],
        swaps: Mapping[tuple[Hashable, ...], Any],
    ) -> None:  # fmt: skip
        table = {(text,) * (1 + len(variables)): said for text, said in answers.items()} | dict(swaps)
        nodes = [Node(variable, (prompt,), _itself, False) for variable in variables]
        self._build([*nodes, Node(ANSWER, (prompt, *variables), _Lookup(table), True)], inputs, ANSWER)
