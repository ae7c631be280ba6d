"""Answers: the tokens by which a network answers, and when what it says is right.

An answer goes by a number wherever pairs hold their labels. `OneToken`: it is the answer's token. `Spelled`: the answer's place
in a table, for answers of several tokens and for such as may be written in several ways (forms). `Real`: likewise, for networks
that give numbers. What all of them have is what `Answers` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from das.errors import DasError
from das.task.rendered import Indices
from das.task.tokenizer import Tokenizer

Spelling = tuple[int, ...]
"""The tokens of one way to write an answer."""

NONE, END = -1, -2
"""In place of a token: that a form has no more; and that the answer must have ended there, which the next token shows."""


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


def spelling_of(tokenizer: Tokenizer, text: str, answer: str) -> Spelling:
    """The tokens of `answer` where it follows the prompt `text`."""
    prompt, whole = _open(tokenizer, text), _open(tokenizer, text + answer)
    if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
        raise DasError(
            f"answer {answer!r} does not begin a new token after the prompt's end {text[-20:]!r}: "
            "end the prompt without the space and begin the answer with it"
        )
    return tuple(whole[len(prompt) :])


def answer_token(tokenizer: Tokenizer, text: str, answer: str) -> int:
    """The first token of `answer` where it follows the prompt `text`."""
    return spelling_of(tokenizer, text, answer)[0]


def answer_tokens(tokenizer: Tokenizer, text: str, answers: Sequence[str]) -> Indices:
    """The first token of each answer where it follows the prompt `text`."""
    tokens = {answer: answer_token(tokenizer, text, answer) for answer in dict.fromkeys(answers)}
    return np.array([tokens[answer] for answer in answers], np.int64)


class Answers(Protocol):
    """How answers are read. `slots`: how often a prompt is put for one answer, each time with another beginning of it."""

    @property
    def slots(self) -> int: ...

    def beginnings(self, numbers: Indices) -> Indices:
        """The tokens that prompts are followed by to read answers, (n,) → (n, slots, tail)."""
        ...

    def said(self, outputs: Any) -> Any:
        """What of a network's outputs is compared with answers: (…, vocabulary) → (…), or outputs as they are."""
        ...

    def right(self, said: NDArray[Any], numbers: Indices) -> NDArray[np.bool_]:
        """Whether what was said is the answer. said: (…, n · slots[, steps]), as prompts and their beginnings were put;
        numbers: (n,). Returns (…, n)."""
        ...

    def spelling(self, numbers: Indices) -> Indices:
        """The tokens of answers in their first form, (n, steps), −1 where one has no more."""
        ...

    def table(self, numbers: Indices) -> tuple[Indices, Indices]:
        """The tokens of answers' forms, (n, steps, forms), `NONE` where one has no more, `END` where the answer must have
        ended; and from which slot each is read, (n, forms), −1 where there is no such form."""
        ...

    @property
    def going_on(self) -> Indices:
        """The tokens by which an answer goes on: where it must have ended, none of them is the likeliest."""
        ...

    def tokens_of(self, numbers: Indices) -> list[Indices]:
        """Step of an answer → the tokens that some answers have there, for an end one token that is none to go on by; none
        where answers are no tokens."""
        ...


class _AtOnce:
    """Of answers that are read from the prompt alone, with nothing behind it."""

    @property
    def slots(self) -> int:
        return 1

    @property
    def going_on(self) -> Indices:
        return np.zeros(0, np.int64)

    def beginnings(self, numbers: Indices) -> Indices:
        return np.zeros((len(numbers), 1, 0), np.int64)


@dataclass(frozen=True)
class OneToken(_AtOnce):
    """Answers of one token, written in one way: an answer's number is its token."""

    def said(self, outputs: Any) -> Any:
        return outputs.argmax(-1)

    def right(self, said: NDArray[Any], numbers: Indices) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = said == numbers
        return same

    def spelling(self, numbers: Indices) -> Indices:
        return numbers[:, None]

    def table(self, numbers: Indices) -> tuple[Indices, Indices]:
        return numbers[:, None, None], np.zeros_like(numbers)[:, None]

    def tokens_of(self, numbers: Indices) -> list[Indices]:
        return [np.unique(numbers)]


@dataclass(frozen=True)
class Spelled:
    """Answers by their forms. An answer is given where every token of one of its forms is the likeliest of all, each after the
    prompt and the form's tokens before it: what the network would write of itself, the likeliest token each time. Where some
    answer begins another, all must end as well: the likeliest token behind it is none of those by which answers go on.

    forms: each answer's. on: the tokens by which answers go on, ascending; none where every answer tells its own end.
    """

    forms: tuple[tuple[Spelling, ...], ...]
    on: tuple[int, ...] = ()

    @cached_property
    def going_on(self) -> Indices:
        return np.array(self.on, np.int64)

    @cached_property
    def _begun(self) -> list[list[Spelling]]:
        """Of each answer, the beginnings that all its forms can be read from, each without what it is read by: its last token,
        or its end."""
        return [_longest([self._beginning(form) for form in forms]) for forms in self.forms]

    def _beginning(self, form: Spelling) -> Spelling:
        return form if self.on else form[:-1]

    @property
    def slots(self) -> int:
        return max(map(len, self._begun))

    @property
    def steps(self) -> int:
        """The most tokens that a form has, an end counted as one."""
        return max(len(form) for forms in self.forms for form in forms) + bool(self.on)

    def beginnings(self, numbers: Indices) -> Indices:
        return self._beginnings[numbers]

    @cached_property
    def _beginnings(self) -> Indices:
        """(answers, slots, steps − 1); 0 behind what is shorter, and the first again where an answer has fewer."""
        table = np.zeros((len(self.forms), self.slots, self.steps - 1), np.int64)
        for answer, begun in enumerate(self._begun):
            for slot in range(self.slots):
                form = begun[slot] if slot < len(begun) else begun[0]
                table[answer, slot, : len(form)] = form
        return table

    @cached_property
    def tokens(self) -> Indices:
        """(answers, steps, forms), see `Answers.table`."""
        table = np.full((len(self.forms), self.steps, max(map(len, self.forms))), NONE)
        for answer, forms in enumerate(self.forms):
            for at, form in enumerate(forms):
                table[answer, : len(form), at] = form
                table[answer, len(form) :, at][: bool(self.on)] = END
        return table

    @cached_property
    def slot(self) -> Indices:
        """(answers, forms): from which slot a form is read; −1 where there is no such form."""
        table = np.full((len(self.forms), max(map(len, self.forms))), -1)
        for answer, forms in enumerate(self.forms):
            for at, form in enumerate(forms):
                begun = self._begun[answer]
                mine = self._beginning(form)
                table[answer, at] = next(i for i, b in enumerate(begun) if b[: len(mine)] == mine)
        return table

    def said(self, outputs: Any) -> Any:
        return outputs.argmax(-1)

    def right(self, said: NDArray[Any], numbers: Indices) -> NDArray[np.bool_]:
        tokens = self.tokens[numbers]
        each = said.reshape(*said.shape[: said.ndim - 1 - (self.steps > 1)], len(numbers), self.slots, self.steps)
        ended = ~np.isin(each, self.going_on)[..., None] & (tokens[:, None] == END)
        same = ((each[..., None] == tokens[:, None]) | (tokens[:, None] == NONE) | ended).all(-2)
        here = self.slot[numbers][:, None] == np.arange(self.slots)[:, None]
        found: NDArray[np.bool_] = np.logical_and(same, here).any(axis=(-2, -1))
        return found

    def spelling(self, numbers: Indices) -> Indices:
        first = self.tokens[numbers, :, 0]
        return np.where(first == END, NONE, first)

    def table(self, numbers: Indices) -> tuple[Indices, Indices]:
        return self.tokens[numbers], self.slot[numbers]

    def tokens_of(self, numbers: Indices) -> list[Indices]:
        every = self.tokens[numbers]
        other = next(token for token in range(len(self.on) + 1) if token not in set(self.on))
        return [np.unique(step[step != NONE]) for step in np.where(every == END, other, every).transpose(1, 0, 2)]


@dataclass(frozen=True)
class Real(_AtOnce):
    """Answers that are numbers, for a network that gives numbers: right within a tolerance, in each of them.

    values: (answers, size); an output of the network is (rows, size).
    """

    values: NDArray[np.float64]
    tolerance: float

    def said(self, outputs: Any) -> Any:
        return outputs

    def right(self, said: NDArray[Any], numbers: Indices) -> NDArray[np.bool_]:
        near = np.abs(said - self.values[numbers]) <= self.tolerance
        every: NDArray[np.bool_] = np.asarray(near.all(axis=-1))
        return every

    def spelling(self, numbers: Indices) -> Indices:
        raise DasError("answers that are numbers have no tokens, and so no probability and no rank among these")

    def table(self, numbers: Indices) -> tuple[Indices, Indices]:
        raise DasError("answers that are numbers have no tokens, and so no probability and no rank among these")

    def tokens_of(self, numbers: Indices) -> list[Indices]:
        return []


def _longest(forms: Sequence[Spelling]) -> list[Spelling]:
    """Those that no other begins with, in order of their first use."""
    distinct = list(dict.fromkeys(forms))
    return [one for one in distinct if not any(other != one and other[: len(one)] == one for other in distinct)]


def check_told_apart(forms: Sequence[Sequence[Spelling]], texts: Sequence[Sequence[str]]) -> None:
    """DasError where what a network writes could be two answers: a form of one is a form of another. forms: each answer's;
    texts: as they are written."""
    owner: dict[Spelling, tuple[int, str]] = {}
    for answer, mine in enumerate(forms):
        for form, two in zip(mine, texts[answer], strict=False):
            other, one = owner.setdefault(form, (answer, two))
            if other != answer:
                raise DasError(
                    f"answers {one!r} and {two!r} are the same token(s) to the tokenizer: choose answers that differ"
                    if one != two
                    else f"{one!r} is a form of two answers: a form belongs to one"
                )
