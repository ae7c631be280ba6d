"""Generated: how a network goes on from prompts, before and after a swap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from das.errors import DasError, one_line
from das.ground.checks import whole
from das.network.lm import LM
from das.network.quiet import hushed
from das.pairs.dataset import Rows
from das.task.encoded import Encoded
from das.task.rendered import Prompts
from das.task.tokenizer import Tokenizer
from das.text import aligned
from das.use.applied import BEFORE

MOST = 100_000
"""Tokens to be generated."""

Under = Callable[[Rows], AbstractContextManager[None]]
"""Some of the prompts → what holds while they are gone on from."""


@dataclass(frozen=True)
class Generated:
    """prompts: `before` and each source → the texts; tokens: these and `after` → the tokens that came of each row."""

    what: str
    tokenizer: Tokenizer
    prompts: Mapping[str, Sequence[str]]
    tokens: Mapping[str, Sequence[Sequence[int]]]

    @property
    def texts(self) -> dict[str, list[str]]:
        """`before`, each source and `after` → how the text goes on, for each row."""
        decode = self.tokenizer.decode
        return {name: [decode(ids, skip_special_tokens=True) for ids in rows] for name, rows in self.tokens.items()}

    def text(self) -> str:
        """For people."""
        texts = self.texts
        rows = [aligned([[name, repr(one_line(said[row]))] for name, said in texts.items()]) for row in range(len(self))]
        return "\n\n".join([self.what, *rows])

    __repr__ = text

    def __len__(self) -> int:
        return len(self.tokens[BEFORE])


@torch.no_grad()
def continued(lm: LM, prompts: Prompts, tokens: int, options: Mapping[str, Any], under: Under | None = None) -> list[list[int]]:
    """The tokens that follow each prompt, up to `tokens` of them. Prompts of one length are gone on from together, so that none
    needs padding. options: of the network's `generate`."""
    network: Any = lm.model
    if not isinstance(prompts, Encoded):
        raise DasError("text is generated from texts: this task puts none")
    _check_generates(lm, prompts, tokens)
    plain = {"do_sample": False, "num_beams": 1, "pad_token_id": _padding(lm)} | dict(options)
    found: dict[int, list[int]] = {}
    for length in np.unique(prompts.lengths):
        rows = np.flatnonzero(prompts.lengths == length)
        ids = torch.from_numpy(prompts.ids[rows, -length:]).to(lm.device)
        with under(rows) if under else nullcontext(), hushed():
            said = network.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, **plain)
        answer = said if isinstance(said, torch.Tensor) else said.sequences
        if len(answer) != len(rows):
            raise DasError("one continuation for each prompt is shown: num_return_sequences is for calls of your own")
        begin = 1 if lm.halves else length
        found |= {int(row): ids[begin:] for row, ids in zip(rows, answer.tolist(), strict=True)}
    return [found[row] for row in range(len(prompts))]


def _padding(lm: LM) -> int:
    """What fills up shorter continuations."""
    known = getattr(lm.tokenizer, "pad_token_id", None)
    return 0 if known is None else int(known)


def _check_generates(lm: LM, prompts: Encoded, tokens: int) -> None:
    whole("tokens to be generated", tokens, 1, MOST)
    network: Any = lm.model
    if not hasattr(network, "generate") or lm.mask is not None or not getattr(network, "can_generate", lambda: True)():
        raise DasError(f"{type(network).__name__} does not generate text: it has no generate, or answers in place of a mask")
    most, longest = getattr(network.config.get_text_config(), "max_position_embeddings", None), int(prompts.lengths.max())
    halves = lm.halves
    if isinstance(most, int) and most > 0 and (tokens if halves else tokens + longest) > most:
        raise DasError(f"{longest} tokens and {tokens} more do not fit into the {most} of this network: generate fewer")
