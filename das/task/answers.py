"""Answers: the token by which a network answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from das.errors import DasError
from das.task.rendered import Indices
from das.task.tokenizer import Tokenizer


def closing(offsets: Indices) -> Indices:
    """How many tokens at the end of each prompt stand for none of its characters, (rows, tokens, 2) → (rows,): those with which
    a tokenizer closes it, such as `[SEP]` or `</s>`."""
    written = offsets[..., 0] < offsets[..., 1]
    counts: Indices = np.where(written.any(1), written[:, ::-1].argmax(1), 0)
    return counts


def _open(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text, without those that close it."""
    found = tokenizer(text, return_offsets_mapping=True)
    ids: list[int] = found["input_ids"]
    return ids[: len(ids) - int(closing(np.array(found["offset_mapping"]).reshape(1, -1, 2))[0])]


def answer_token(tokenizer: Tokenizer, text: str, answer: str) -> int:
    """The first token of `answer` where it follows the prompt `text`."""
    prompt, whole = _open(tokenizer, text), _open(tokenizer, text + answer)
    if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
        raise DasError(
            f"answer {answer!r} does not begin a new token after the prompt's end {text[-20:]!r}: "
            "end the prompt without the space and begin the answer with it"
        )
    return int(whole[len(prompt)])


def answer_tokens(tokenizer: Tokenizer, text: str, answers: Sequence[str]) -> Indices:
    """The first token of each answer where it follows the prompt `text`."""
    tokens = {answer: answer_token(tokenizer, text, answer) for answer in dict.fromkeys(answers)}
    return np.array([tokens[answer] for answer in answers], np.int64)
