"""Regions: what each token of a prompt is to a hypothesis' variable."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from das.task.texts import Texts
from das.task.tokenizer import Tokenizer

REGIONS = ("first", "itself", "subject", "relation", "context")
"""first: the text's first token, where heads look that have nothing to say. itself: the token that answers. subject: fields
that the variable is computed from. relation: the other fields that the answer goes by, and the template's own words. context:
fields that the answer does not go by, and what a shift puts before the question, such as solved examples."""
FIRST, ITSELF, SUBJECT, RELATION, CONTEXT = range(len(REGIONS))


def regions(
    texts: Texts, plain: Sequence[str], named: Mapping[str, int], tokenizer: Tokenizer
) -> NDArray[np.int64]:  # fmt: skip
    """The region of every token, (rows, tokens of the longest), at the right; −1 where there is none.

    plain: the same questions without a shift; what a text has before the last words that it shares with this is context. named:
    field → its region; a field that is in none counts as the template's own words."""
    found = tokenizer(texts.texts, return_offsets_mapping=True)["offset_mapping"]
    width = max(map(len, found))
    out = np.full((len(found), width), -1, np.int64)
    for row, offsets in enumerate(found):
        middle = np.array(offsets).mean(1)
        same = _same_end(texts.texts[row], plain[row])
        begin = len(texts.texts[row]) - same if 2 * same >= len(plain[row]) else 0
        mine = np.where(middle < begin, CONTEXT, RELATION)
        for field, region in named.items():
            start, end = texts.spans[field][row]
            mine[(middle > start) & (middle < end)] = region
        mine[0], mine[-1] = FIRST, ITSELF
        out[row, width - len(offsets) :] = mine
    return out


def _same_end(one: str, other: str) -> int:
    """How many last characters two texts share."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(reversed(one), reversed(other), strict=False)))


def region_of(behind: Collection[str], causes: Collection[str], asked: Collection[str]) -> int:
    """A field's. behind: the inputs it is written from; causes: those of the variable; asked: those of the answer."""
    if set(behind) & set(causes):
        return SUBJECT
    return RELATION if set(behind) & set(asked) else CONTEXT
