"""Rendered: settings as they are put to a network, in words or as tensors; and prompts, as the network takes them.

What lies above this wing asks for no more than stands here: it works whatever a network reads.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from das.errors import DasError

Indices = NDArray[np.int64]


class Prompts(ABC):
    """Rows that a network is given together, with the columns of the named positions.

    positions: name → (rows, places of the span), columns of the prompts. lengths: (rows,), how many of the `width` columns, at
    the right, are a prompt's own. whole: a prompt has no places: what a module makes of it is one vector.
    tail: how many of the last columns are no part of the prompts, but the beginning of an answer, which the network is made
    to have given already (teacher forcing); `lengths` counts them.
    """

    positions: dict[str, Indices]
    lengths: Indices
    whole: bool = False
    tail: int = 0

    @property
    @abstractmethod
    def width(self) -> int:
        """How many columns there are."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Any) -> Self:
        """Some of them."""

    @classmethod
    @abstractmethod
    def concat(cls, parts: Sequence[Any]) -> Self:
        """Several batches one below another; only the positions that all have are kept."""

    @property
    def steps(self) -> int:
        """How many tokens of an answer are read: the one after the prompt, and one after each of the tail."""
        return self.tail + 1

    def forced(self, tokens: Indices) -> Self:
        """The same prompts, each followed by the beginning of an answer. tokens: (rows, tail)"""
        if tokens.shape[1]:
            raise DasError("answers of several tokens are for networks that read words")
        return self

    def asked(self) -> Self:
        """The prompts without what they were made to be followed by."""
        return self

    @abstractmethod
    def prefix(self, most: int) -> Indices:
        """The tokens that all begin with, up to `most` of them; none of what is no text."""

    @abstractmethod
    def identities(self) -> Indices:
        """Of each: equal for those that a network cannot tell apart, the same in every process. (rows,)"""


def hashed(rows: Iterable[bytes]) -> Indices:
    """64 bits of a hash of each, the same in every process."""
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in rows]
    return np.array([int.from_bytes(digest, "big", signed=True) for digest in digests], np.int64)


class Rendered(ABC):
    """Settings as they are put to a network, a row for each. tokenizer: the network's, which only words need."""

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """How each is called in words; those that are alike have one name."""

    @property
    def ways(self) -> list[int]:
        """The first row that is put in each way: by each template."""
        return [0]

    @abstractmethod
    def take(self, rows: int | Indices) -> Self:
        """One of them, or some."""

    @abstractmethod
    def encode(self, tokenizer: Any, positions: Sequence[str] = ()) -> Prompts:
        """As the network takes them, with the named positions resolved. DasError where one does not exist, or where a whole
        span has a different number of places by row."""

    @abstractmethod
    def check(self, tokenizer: Any, positions: Sequence[str]) -> None:
        """DasError unless the positions exist and the network can read all that is there."""

    @abstractmethod
    def identities(self, tokenizer: Any) -> Indices:
        """Of each (see `Prompts.identities`). (rows,)"""

    @abstractmethod
    def coverage(self, tokenizer: Any, positions: Sequence[str]) -> dict[str, float]:
        """Position → the share of the rows in which it exists; of a whole span, with its commonest number of places."""

    @abstractmethod
    def at(self, tokenizer: Any, positions: Sequence[str]) -> dict[str, str]:
        """Position → what stands there in the first row, in the order of the prompt."""

    def where(self, tokenizer: Any, positions: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
        """Position → where each of its tokens begins and ends in the first row's text, in characters, in the order of the
        prompt; none of what is no text."""
        return {name: [] for name in self.at(tokenizer, positions)}

    @abstractmethod
    def show(self, tokenizer: Any, positions: Sequence[str]) -> str:
        """The first row with its positions, to be read."""
