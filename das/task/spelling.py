"""Spelling: how answers are written in a tokenizer's tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from das.errors import DasError, shown
from das.task.answers import Answers, OneToken, Spelled, Spelling, check_told_apart, spelling_of
from das.task.ending import going_on
from das.task.rendered import Indices
from das.task.tokenizer import Tokenizer

NUMBER = re.compile(r"[-+−]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")

MOST = 64
"""Answers that may lie within the tolerance of one: each is another text to look for."""

Texts = tuple[str, ...]


def spelled(
    said: Sequence[Texts], text: str, tokenizer: Tokenizer, first_token: bool = False, tolerance: float | None = None,
    known: Sequence[Texts] = (),
) -> tuple[Answers, Indices]:  # fmt: skip
    """How answers are read, and the number of each, (answers,). said: the texts of each; text: a prompt that they are written
    after. first_token, tolerance: see `das.Prompt`; known: further answers, which say whether some answer begins another (see
    `das.task.ending`), and which with a tolerance are right where they are near.

    DasError where two answers cannot be told apart by what is written.
    """
    every = _forms([*said, *known], text, tokenizer, first_token)
    on = () if first_token else going_on(every, tokenizer)
    asked = every if tolerance is not None else {texts: every[texts] for texts in dict.fromkeys(said)}
    forms = asked if on else {texts: _shortest(mine) for texts, mine in asked.items()}
    table = sorted(set(forms.values()))
    texts = {mine: each for each, mine in forms.items()}
    check_told_apart(list(forms.values()), list(forms))
    if tolerance is None and all(len(mine) == 1 and len(mine[0]) == 1 for mine in table) and not on:
        return OneToken(), np.array([forms[each][0][0] for each in said], np.int64)
    place = {mine: number for number, mine in enumerate(table)}
    near = table if tolerance is None else _near(table, [texts[mine][0] for mine in table], tolerance)
    return Spelled(tuple(near), on), np.array([place[forms[each]] for each in said], np.int64)


def _forms(said: Sequence[Texts], text: str, tokenizer: Tokenizer, first_token: bool) -> dict[Texts, tuple[Spelling, ...]]:
    """Each answer's texts → its forms, each once."""
    tokens = {t: spelling_of(tokenizer, text, t) for t in dict.fromkeys(t for texts in said for t in texts)}
    if first_token:
        tokens = {t: form[:1] for t, form in tokens.items()}
    return {texts: tuple(dict.fromkeys(tokens[t] for t in texts)) for texts in dict.fromkeys(said)}


def _shortest(forms: Sequence[Spelling]) -> tuple[Spelling, ...]:
    """Less those that only go on where another one ends."""
    return tuple(one for one in forms if not any(other != one and one[: len(other)] == other for other in forms))


def _near(table: Sequence[tuple[Spelling, ...]], texts: Sequence[str], tolerance: float) -> list[tuple[Spelling, ...]]:
    """Each answer's forms, and behind its own those of the answers whose numbers lie within the tolerance of its own."""
    values = np.array([number_in(text) for text in texts])
    slack = tolerance + 1e-9 * max(1.0, float(np.abs(values).max()))
    done = []
    for own, value in zip(table, values, strict=True):
        near = np.flatnonzero(np.abs(values - value) <= slack)
        if len(near) > MOST:
            raise DasError(
                f"{len(near)} answers lie within the tolerance {tolerance:g} of {value:g}, and each is another text to look "
                f"for: give a smaller tolerance, at most {MOST} answers wide, or write the answers with fewer digits"
            )
        done.append(tuple(dict.fromkeys([*own, *(form for other in near.tolist() for form in table[other])])))
    return done


def number_in(text: str) -> float:
    """The one number that a text holds. DasError where it holds none, or more."""
    found = NUMBER.findall(text)
    if len(found) != 1:
        raise DasError(f"answer {shown(text)} holds {len(found) or 'no'} numbers: with a tolerance, each answer is one number")
    return float(found[0].replace(",", "").replace("−", "-"))


def check_known(said: Sequence[Texts], text: str, tokenizer: Tokenizer, first_token: bool) -> None:
    """DasError where an answer has a token that the tokenizer does not know."""
    for texts, forms in _forms(said, text, tokenizer, first_token).items():
        if any(tokenizer.unk_token_id in form for form in forms):
            raise DasError(f"answer {texts[0]!r} is unknown to the tokenizer")


def check_alike(said: Sequence[Texts], texts: Sequence[str], tokenizer: Tokenizer, first_token: bool) -> None:
    """DasError where an answer is other tokens after one of some prompts than after another. texts: a prompt of each
    template."""
    known = _forms(said, texts[0], tokenizer, first_token)
    for text in texts[1:]:
        for answer, forms in _forms(said, text, tokenizer, first_token).items():
            if forms != known[answer]:
                raise DasError(
                    f"answer {answer[0]!r} is other tokens after {text[-20:]!r} than after {texts[0][-20:]!r}: let all "
                    "templates end alike, with or without a space"
                )
