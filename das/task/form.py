"""Form: how a task's inputs are put to a network, and its answers: in words (`das.Prompt`) or as tensors (`das.Tensors`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from das.causal.columns import Column
from das.task.answers import Answers, OneToken
from das.task.rendered import Indices, Rendered
from das.task.tokenizer import Tokenizer


class Form(ABC):
    """What a task asks of it. positions: those that have a name of their own, beside the fields'."""

    positions: Mapping[str, Any]

    @property
    @abstractmethod
    def fields(self) -> list[str]:
        """The variables that are shown to the network, each once."""

    @property
    def needed(self) -> list[str]:
        """The variables that are needed to put it: those that are shown, and those that say where positions lie."""
        return self.fields

    @property
    def ways(self) -> int:
        """In how many ways it is put: how many templates there are."""
        return 1

    @property
    @abstractmethod
    def written(self) -> str:
        """How it is put, to be read."""

    @abstractmethod
    def parts(self) -> dict[str, list[Any]]:
        """What it is made of, in words → values and functions, by which a run tells whether it is still the same."""

    @abstractmethod
    def render(self, columns: Mapping[str, Column]) -> Rendered:
        """What a network is given of each row."""

    @abstractmethod
    def read(self, rendered: Rendered, outputs: Column, tokenizer: Tokenizer) -> Any:
        """What reaches the network of what is asked, and of the answers, as plain data."""

    @abstractmethod
    def answer_texts(self, outputs: Column) -> list[str]:
        """The answer to each row of the output column, in words."""

    def answer_forms(self, outputs: Column) -> list[tuple[str, ...]]:
        """All ways to say the answer to each row of the output column."""
        return [(text,) for text in self.answer_texts(outputs)]

    @abstractmethod
    def answer_tokens(self, outputs: Column, one: Rendered, tokenizer: Tokenizer) -> Indices:
        """The answer to each row of the output column: its number among all that the network scores. one: something that is
        asked, for an answer's tokens depend on what stands before it."""

    def spelled(
        self, outputs: Column, one: Rendered, tokenizer: Tokenizer, known: Callable[[], Column]
    ) -> tuple[Answers, Indices]:
        """How answers are read, and the number of the answer to each row of the output column. known: gives the outputs of some
        other rows, where answers are compared with each other."""
        return OneToken(), self.answer_tokens(outputs, one, tokenizer)

    @abstractmethod
    def check_answers(self, outputs: Column, one: Rendered, tokenizer: Tokenizer) -> None:
        """DasError unless the network can give the answers, and they can be told apart."""
