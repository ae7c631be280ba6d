"""Likeliest: a swap's answers by their tokens, or classes, and how likely these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from das.ground.checks import whole
from das.task.answers import answer_token
from das.task.tokenizer import Tokenizer
from das.use.applied import AFTER, BEFORE, Applied


@dataclass(frozen=True, kw_only=True, repr=False)
class Likeliest(Applied):
    """Of a network that scores tokens or classes. An answer is the likeliest first token, or class."""

    tokenizer: Tokenizer

    @property
    def answers(self) -> dict[str, list[str]]:
        return {name: [self._token(i) for i in logits.argmax(-1).tolist()] for name, logits in self.logits.items()}

    @property
    def flips(self) -> NDArray[np.bool_]:
        return (self.logits[BEFORE].argmax(-1) != self.logits[AFTER].argmax(-1)).numpy()

    def top(self, k: int = 5) -> pd.DataFrame:
        """The likeliest tokens and their probabilities: a row per pair and rank, from 1; columns `before`, `p_before`, …"""
        k = min(whole("top", k, 1, 10**6), self.logits[AFTER].shape[-1])
        table: dict[str, Any] = {"row": np.repeat(np.arange(len(self)), k), "rank": np.tile(np.arange(1, k + 1), len(self))}
        for name, logits in self.logits.items():
            p, tokens = torch.softmax(logits, -1).topk(k, -1)
            table |= {name: [self._token(i) for i in tokens.flatten().tolist()], f"p_{name}": p.flatten().numpy()}
        return pd.DataFrame(table)

    def logit_difference(self, answer: str, other: str) -> pd.DataFrame:
        """The logit of one answer's first token less that of another's, where they follow the base: a row per pair, columns
        `before`, `source`, `after`. The answers are taken as they stand: with the space that may separate them from the prompt.
        """
        tokens = [[answer_token(self.tokenizer, text, a) for a in (answer, other)] for text in self.prompts[BEFORE]]
        first, second = torch.tensor(tokens).T
        rows = torch.arange(len(self))
        return pd.DataFrame(
            {name: (logits[rows, first] - logits[rows, second]).numpy() for name, logits in self.logits.items()}
        )

    def table(self) -> pd.DataFrame:
        """A row per pair: the likeliest tokens, the probability after the swap, whether it flips, and what is expected."""
        body = pd.DataFrame(self.answers | {"p_after": self.top(1)["p_after"], "flips": self.flips})
        return body if self.expected is None else body.assign(expected=self._wanted, as_expected=self.as_expected)

    def _likely(self, k: int) -> dict[str, list[list[list[Any]]]]:
        """Name → of each row the likeliest tokens, each with its probability."""
        top = self.top(k)
        width = len(top) // len(self)
        pairs = {name: top[[name, f"p_{name}"]].to_numpy().tolist() for name in self.logits}
        return {name: [each[i : i + width] for i in range(0, len(each), width)] for name, each in pairs.items()}

    def _said(self, k: int) -> Mapping[str, Sequence[Sequence[str]]]:
        return {name: [[f"{token!r} {p:.3f}" for token, p in row] for row in rows] for name, rows in self._likely(k).items()}

    def _more(self, k: int) -> Mapping[str, Mapping[str, Sequence[Any]]]:
        return {"top": self._likely(k)}

    @property
    def _wanted(self) -> Sequence[str]:
        return self.expected.texts if self.expected else []

    def _held(self, row: int) -> str:
        return repr(self._wanted[row])

    def _token(self, token: int) -> str:
        return token_text(self.tokenizer, token)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token as it stands in a text, with the space before it, which some tokenizers leave out of a single one; its
    number where no tokenizer says."""
    if tokenizer is None:
        return str(token)
    text = str(tokenizer.decode([token]))
    return f" {text}" if str(tokenizer.convert_ids_to_tokens(token)).startswith("▁") and not text.startswith(" ") else text
