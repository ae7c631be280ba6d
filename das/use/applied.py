"""Applied: what comes of a swap between prompts of one's own: logits, likeliest tokens, what the causal model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.ground.checks import whole
from das.task.answers import answer_token
from das.task.tokenizer import Tokenizer
from das.text import aligned

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Expected:
    """What the causal model says comes out. texts: the answers; given: whether the network gives them after the swap, as it is
    read in a run (see `das.task.answers`): of several tokens all. (rows,)"""

    texts: Sequence[str]
    given: NDArray[np.bool_]


@dataclass(frozen=True)
class Applied:
    """Pairs of a base and its source(s), asked before and after the swap.

    logits: `before`, `source` (of several variables `source.<variable>`) and `after` → (rows, vocabulary), of the answer's
    first token. prompts: `before` and each source → the texts; places: likewise, the tokens between which was swapped.
    expected: by the causal model, where the prompts were given as values of its inputs.
    """

    what: str
    tokenizer: Tokenizer
    logits: Mapping[str, Tensor]
    prompts: Mapping[str, Sequence[str]]
    places: Mapping[str, Sequence[str]]
    expected: Expected | None = None

    def __len__(self) -> int:
        return len(self.logits[AFTER])

    @property
    def answers(self) -> dict[str, list[str]]:
        """`before`, each source and `after` → the likeliest first token of each row."""
        return {name: [self._token(i) for i in logits.argmax(-1).tolist()] for name, logits in self.logits.items()}

    @property
    def flips(self) -> NDArray[np.bool_]:
        """Where the likeliest token is another one after the swap. (rows,)"""
        return (self.logits[BEFORE].argmax(-1) != self.logits[AFTER].argmax(-1)).numpy()

    @property
    def as_expected(self) -> NDArray[np.bool_] | None:
        """Where the network gives the causal model's answer after the swap; None where that is not known. (rows,)"""
        return None if self.expected is None else self.expected.given

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
        return body if self.expected is None else body.assign(expected=self.expected.texts, as_expected=self.as_expected)

    def text(self, k: int = 3) -> str:
        """For people: prompts, places and the likeliest tokens of the first pairs."""
        shown, top = min(len(self), 8), self.top(k)
        parts = [self.what, *(self._of_row(row, top[top["row"] == row]) for row in range(shown))]
        if shown < len(self):
            parts.append(f"and {len(self) - shown} pairs more")
        if len(self) > 1:
            parts.append(self._shares())
        return "\n\n".join(parts)

    __repr__ = text

    def plain(self, k: int = 5) -> list[dict[str, Any]]:
        """As JSON can hold it: of each pair the prompts, the places, the likeliest tokens, and what is expected."""
        top, answers, flips, right = self.top(k), self.answers, self.flips, self.as_expected
        pairs = []
        for row in range(len(self)):
            mine = top[top["row"] == row]
            likely = {name: mine[[name, f"p_{name}"]].to_numpy().tolist() for name in self.logits}
            parts = {"prompts": self.prompts, "places": self.places, "answers": answers}
            pair = {name: {key: values[row] for key, values in part.items()} for name, part in parts.items()}
            pairs.append(pair | {"top": likely, "flips": bool(flips[row])})
            if self.expected is not None and right is not None:
                pairs[-1] |= {"expected": self.expected.texts[row], "as_expected": bool(right[row])}
        return pairs

    def _of_row(self, row: int, mine: pd.DataFrame) -> str:
        lines = []
        for name in self.logits:
            likely = [f"{token!r} {p:.3f}" for token, p in zip(mine[name], mine[f"p_{name}"], strict=True)]
            where = f"at {self.places[name][row]!r} of {_end(self.prompts[name][row])}" if name != AFTER else ""
            lines.append([name, *likely, where])
        told = [aligned(lines)]
        if self.expected is not None and self.as_expected is not None:
            verb = "as" if self.as_expected[row] else "not as"
            told.append(f"{verb} the causal model says: {self.expected.texts[row]!r}")
        return "\n".join(told)

    def _shares(self) -> str:
        share = f"flips {int(self.flips.sum())} of {len(self)}"
        right = self.as_expected
        return share if right is None else f"{share}; as the causal model says in {int(right.sum())} of {len(self)}"

    def _token(self, token: int) -> str:
        return token_text(self.tokenizer, token)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token as it stands in a text, with the space before it, which some tokenizers leave out of a single one; its
    number where no tokenizer says."""
    if tokenizer is None:
        return str(token)
    text = str(tokenizer.decode([token]))
    return f" {text}" if str(tokenizer.convert_ids_to_tokens(token)).startswith("▁") and not text.startswith(" ") else text


def _end(text: str, most: int = 60) -> str:
    """A prompt, of a long one its end."""
    line = " ".join(text.split())
    return repr(line if len(line) <= most else f"… {line[-most:]}")
