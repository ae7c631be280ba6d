"""Calling: where a held swap lies in calls of the user's own, of which only token ids are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from das.errors import DasError, shown
from das.interchange.calls import Where
from das.task.answers import closing
from das.task.encoded import Encoded
from das.task.pointing import Pointer, encode_at, names_position, numbers_of
from das.task.positions import Position
from das.task.rendered import Indices, Prompts
from das.task.texts import Texts
from das.task.tokenizer import Tokenizer

PLACE = "place"


def fixed(numbers: Indices) -> Where:
    """The same tokens in every call: a row for each prompt, or one for all."""

    def where(prompts: Sequence[Indices]) -> Indices:
        if len(numbers) not in (1, len(prompts)):
            raise DasError(f"a place was given for each of {len(numbers)} prompts, and a call has {len(prompts)}")
        every = np.broadcast_to(numbers, (len(prompts), numbers.shape[1]))
        for prompt, own in zip(prompts, every, strict=True):
            if own.max() >= len(prompt):
                raise DasError(f"there is no token {own.max()} in a prompt of {len(prompt)} tokens of a call")
        return every

    return where


def of_base(base: Prompts, position: str) -> Where:
    """The base's own places, in calls with prompts that begin with it: with each its own, or with one for all."""
    if not isinstance(base, Encoded):
        raise DasError("a swap is held in calls with texts: this task puts none")
    numbers = numbers_of(base, position)
    begin = [row[-n:] for row, n in zip(base.ids, base.lengths, strict=True)]

    def where(prompts: Sequence[Indices]) -> Indices:
        found = fixed(numbers)(prompts)
        for prompt, own in zip(prompts, begin * (len(prompts) if len(begin) == 1 else 1), strict=True):
            if not np.array_equal(prompt[: len(own)], own):
                raise DasError("a prompt of a call does not begin with the tokens of the base: tokenize it as it was given")
        return found

    return where


def pointed(tokenizer: Tokenizer, pointer: Pointer | list[Pointer]) -> Where:
    """Where a pointer leads in the prompts of each call."""

    def where(prompts: Sequence[Indices]) -> Indices:
        each = pointer if isinstance(pointer, list) else [pointer] * len(prompts)
        if len(each) != len(prompts):
            raise DasError(f"there are {len(each)} positions, and a call has {len(prompts)} prompts: give one, or one for each")
        rows = [_numbers(tokenizer, own, prompt) for own, prompt in zip(each, prompts, strict=True)]
        if len({len(row) for row in rows}) > 1:
            raise DasError(f"the place {shown(pointer)} covers other numbers of tokens in one prompt of a call than in another")
        return np.stack(rows)

    return where


def _numbers(tokenizer: Tokenizer, pointer: Pointer, prompt: Indices) -> Indices:
    if isinstance(pointer, tuple):
        return np.concatenate([_numbers(tokenizer, each, prompt) for each in pointer])
    if isinstance(pointer, int) and not isinstance(pointer, bool):
        return np.array([_inside(pointer + (len(prompt) if pointer < 0 else 0), len(prompt), pointer)])
    if isinstance(pointer, str) and names_position(pointer, {}):
        at = Position.parse(pointer)
        end = 0 if at.end == "first" else len(prompt) - 1 - _closers(tokenizer, prompt)
        return np.array([_inside(end + at.offset, len(prompt), pointer)])
    return _in_text(tokenizer, pointer, prompt)


def _inside(number: int, length: int, pointer: Pointer) -> int:
    if not 0 <= number < length:
        raise DasError(f"there is no token {shown(pointer)} in a prompt of {length} tokens of a call")
    return number


def _closers(tokenizer: Tokenizer, prompt: Indices) -> int:
    """How many tokens close a prompt, such as `</s>`, as the tokenizer closes any text."""
    found = tokenizer("a", return_offsets_mapping=True) if tokenizer is not None else {"input_ids": [], "offset_mapping": []}
    ids = found["input_ids"]
    count = int(closing(np.array(found["offset_mapping"]).reshape(1, -1, 2))[0]) if ids else 0
    return count if count and prompt[-count:].tolist() == ids[-count:] else 0


def _in_text(tokenizer: Tokenizer, pointer: Pointer, prompt: Indices) -> Indices:
    """Where a piece of the text is in a prompt, whose text is found from its tokens and must give the same tokens again."""
    if tokenizer is None:
        raise DasError("this network has no tokenizer to find a piece of a text with: give the number of a token")
    text = tokenizer.decode(prompt.tolist(), skip_special_tokens=True)
    found = encode_at(Texts([text], {}), tokenizer, PLACE, pointer)
    if not np.array_equal(found.ids[0], prompt):
        raise DasError(
            f"the text of a call cannot be told from its tokens, to find {shown(pointer)} in it: give base=, the text "
            "itself, or the number of a token"
        )
    numbers: Indices = numbers_of(found, PLACE)[0]
    return numbers
