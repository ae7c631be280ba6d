"""Applied: what comes of a swap between prompts of one's own: what the network gives, and what the causal model says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from das.text import aligned

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Expected:
    """What the causal model says comes out. texts: the answers; given: whether the network gives them after the swap, as it is
    read in a run (see `das.task.answers`): of several tokens all; numbers: of answers that are such, (rows, size). (rows,)"""

    texts: Sequence[str]
    given: NDArray[np.bool_]
    numbers: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Applied(ABC):
    """Pairs of a base and its source(s), asked before and after the swap.

    logits: `before`, `source` (of several variables `source.<variable>`) and `after` → (rows, vocabulary), of the answer's
    first token; of a network that gives numbers these, (rows, size). prompts: `before` and each source → the texts, or the
    values; places: likewise, the tokens between which was swapped.
    expected: by the causal model, where the prompts were given as values of its inputs.
    """

    what: str
    logits: Mapping[str, Tensor]
    prompts: Mapping[str, Sequence[str]]
    places: Mapping[str, Sequence[str]]
    expected: Expected | None = None

    def __len__(self) -> int:
        return len(self.logits[AFTER])

    @property
    @abstractmethod
    def answers(self) -> Mapping[str, Sequence[Any]]:
        """`before`, each source and `after` → each row's answer."""

    @property
    @abstractmethod
    def flips(self) -> NDArray[np.bool_]:
        """Where the answer is another one after the swap. (rows,)"""

    @property
    def as_expected(self) -> NDArray[np.bool_] | None:
        """Where the network gives the causal model's answer after the swap; None where that is not known. (rows,)"""
        return None if self.expected is None else self.expected.given

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """A row per pair: the answers, whether the swap flips them, and what is expected."""

    def text(self, k: int = 3) -> str:
        """For people: prompts, places and answers of the first pairs; of tokens and classes the `k` likeliest."""
        shown, said = min(len(self), 8), self._said(k)
        parts = [self.what, *(self._of_row(row, said) for row in range(shown))]
        if shown < len(self):
            parts.append(f"and {len(self) - shown} pairs more")
        if len(self) > 1:
            parts.append(self._shares())
        return "\n\n".join(parts)

    __repr__ = text

    def plain(self, k: int = 5) -> list[dict[str, Any]]:
        """As JSON can hold it: of each pair the prompts, the places, the answers, and what is expected."""
        parts = {"prompts": self.prompts, "places": self.places, "answers": self.answers, **self._more(k)}
        flips, right, pairs = self.flips, self.as_expected, []
        for row in range(len(self)):
            pair = {name: {key: values[row] for key, values in part.items()} for name, part in parts.items()}
            pairs.append(pair | {"flips": bool(flips[row])})
            if right is not None:
                pairs[-1] |= {"expected": self._wanted[row], "as_expected": bool(right[row])}
        return pairs

    @abstractmethod
    def _said(self, k: int) -> Mapping[str, Sequence[Sequence[str]]]:
        """`before`, each source and `after` → of each row what is shown of its answer."""

    def _more(self, k: int) -> Mapping[str, Mapping[str, Sequence[Any]]]:
        """What else JSON holds of each row's answers."""
        return {}

    @property
    @abstractmethod
    def _wanted(self) -> Sequence[Any]:
        """Each row's expected answer, as data."""

    @abstractmethod
    def _held(self, row: int) -> str:
        """A row's expected answer, to be read."""

    def _of_row(self, row: int, said: Mapping[str, Sequence[Sequence[str]]]) -> str:
        lines = []
        for name, rows in said.items():
            where = f"at {self.places[name][row]!r} of {_end(self.prompts[name][row])}" if name != AFTER else ""
            lines.append([name, *rows[row], where])
        told = [aligned(lines)]
        if self.as_expected is not None:
            verb = "as" if self.as_expected[row] else "not as"
            told.append(f"{verb} the causal model says: {self._held(row)}")
        return "\n".join(told)

    def _shares(self) -> str:
        share = f"flips {int(self.flips.sum())} of {len(self)}"
        right = self.as_expected
        return share if right is None else f"{share}; as the causal model says in {int(right.sum())} of {len(self)}"


def _end(text: str, most: int = 60) -> str:
    """A prompt, of a long one its end."""
    line = " ".join(text.split())
    return repr(line if len(line) <= most else f"… {line[-most:].lstrip()}")
