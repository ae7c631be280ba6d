"""Identity: a prompt is what the network reads of it: its tokens, or the tensors that it is given.

Settings of a causal model's inputs that are written alike (0.11 and 0.12 as `{x:.1f}`, a value that a list holds twice, texts
that a tokenizer does not tell apart) are one prompt. Splits, doubles and left-out prompts go by its number here.

What a network does depends on the text alone, so a label must as well. A text whose settings the causal model answers
differently has no right answer, and one whose settings answer alike can still have no right counterfactual: the swap would put
in whatever the words leave out. Both are refused (`identities`). Where no swap tells the settings of a text apart, nothing that
is asked depends on which of them it is, and the first that was drawn stands for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, codes, differ, row_of, same_length, take
from das.errors import DasError
from das.task.tokenizer import Tokenizer
from das.task.variant import Variant

if TYPE_CHECKING:
    from das.task.hypothesis import Hypothesis

Rows = NDArray[np.int64]

TWINS, PARTNERS = 256, 16
"""Of so many settings whose text another one has, each is swapped with so many others."""


def identities(asked: Variant, hypotheses: Iterable[Hypothesis], tokenizer: Tokenizer, inputs: Columns) -> Rows:
    """The identity of each row's prompt. DasError where one prompt is that of two settings that are answered differently, or
    are, in place of each other, in a swap under one of the hypotheses. (rows,)"""
    rendered = asked.prompt.render(asked.run(inputs))
    found, texts = rendered.identities(tokenizer), rendered.names
    one, other = _twins(found, inputs)
    for told in _told_apart(asked, hypotheses, inputs, one, other) if len(one) else ():
        row = int(np.argmax(told.where))
        raise DasError(_refusal(told, inputs, texts, int(told.one[row]), int(told.other[row]), row))
    return found


def _twins(found: Rows, inputs: Columns) -> tuple[Rows, Rows]:
    """Rows of different settings with one identity: of each further setting, and of the first one."""
    _, first, which = np.unique(found, return_index=True, return_inverse=True)
    own = codes(*inputs.values())
    rows = np.flatnonzero(own != own[first[which]])
    rows = rows[np.sort(np.unique(own[rows], return_index=True)[1])]
    return first[which[rows]], rows


class _Told:
    """Rows that one thing asked of two settings tells apart. what: in words; values: what either gives."""

    def __init__(self, what: str, one: Rows, other: Rows, *values: Column) -> None:
        self.what, self.one, self.other, self.values = what, one, other, values
        self.where = differ(*values)


def _told_apart(asked: Variant, hypotheses: Iterable[Hypothesis], inputs: Columns, one: Rows, other: Rows) -> Iterator[_Told]:
    """Where settings of one text do not do the same: answer, be swapped in, or be swapped into."""
    answers = asked.run(inputs)[asked.model.output]
    found = [_Told("is answered", one, other, answers[one], answers[other])]
    some = np.linspace(0, len(one) - 1, min(len(one), TWINS)).astype(int).repeat(PARTNERS)
    one, other = one[some], other[some]
    with_whom = take(inputs, np.random.default_rng(0).integers(0, same_length(inputs), len(some)))
    for h in (h for h in hypotheses if h.model.complete):
        pair = [take(inputs, one), take(inputs, other)]
        for v in h.variables:
            into = [h.model.interchange(with_whom, {v: some})[h.model.output] for some in pair]
            found.append(_Told(f"is, with its {v} swapped into another prompt, answered", one, other, *into))
            out = [h.model.interchange(some, {v: with_whom})[h.model.output] for some in pair]
            found.append(_Told(f"is, with another prompt's {v} swapped in, answered", one, other, *out))
    return (told for told in found if told.where.any())


def _refusal(told: _Told, inputs: Columns, texts: Sequence[str], one: int, other: int, row: int) -> str:
    def side(at: int, values: Column) -> str:
        return f"{row_of(inputs, at)} {told.what} {_plain(values[row])!r}"

    written = repr(texts[one]) + ("" if texts[one] == texts[other] else f" and {texts[other]!r}, which are the same tokens,")
    return (
        f"one prompt has two right answers: {written} is written for two settings: {side(one, told.values[0])}; "
        f"{side(other, told.values[1])}. Write the values out in full, or draw only values that are written differently, as "
        "Range(0, 9, 0.01) gives values of two decimals"
    )


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
