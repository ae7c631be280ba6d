"""Parts: the prompts of a batch that are run together, and the columns of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from das.errors import DasError
from das.task.encoded import Encoded
from das.task.rendered import Indices, Prompts

P = TypeVar("P", bound=Prompts)


@dataclass(frozen=True)
class Part:
    """Prompts that are run together: those of a batch in `rows`, without the first `cut` columns of the batch."""

    rows: Indices
    prompts: Any
    cut: int


def part_of(prompts: Encoded, rows: Indices) -> Part:
    cut = prompts.ids.shape[1] - int(prompts.lengths[rows].max())
    some = prompts.take(rows)
    return Part(rows, Encoded(some.ids[:, cut:], some.lengths, tail=some.tail), cut)


def beginnings(one: Encoded) -> Iterator[Encoded]:
    """One prompt followed by none, one, … and all of its tail: what is asked to learn each token of the answer."""
    for left in reversed(range(one.steps)):
        yield Encoded(one.ids[:, : one.ids.shape[1] - left], one.lengths - left, tail=one.tail - left)


def steps_of(logits: Tensor, steps: int) -> Tensor:
    """Of logits (rows, positions, vocabulary) those after the last token, (rows, vocabulary); where an answer has more steps
    than one, those of each, (rows, steps, vocabulary)."""
    return logits[:, -1].float() if steps == 1 else logits[:, -steps:].float()


def joined(parts: Sequence[Part], found: Sequence[Tensor], axis: int = 0) -> Tensor:
    """What was found for the parts of a batch, in the order of its rows."""
    if len(parts) == 1:
        return found[0]
    order = torch.from_numpy(np.argsort(np.concatenate([part.rows for part in parts])))
    whole = torch.cat(list(found), axis)
    return whole.index_select(axis, order.to(whole.device))


def a_few(prompts: P) -> P:
    """Up to four of the prompts, of lengths as different as they have: shortest, middle and the longest, twice."""
    order = np.argsort(prompts.lengths, kind="stable")
    return prompts.take(np.unique(order[[0, len(order) // 2, max(0, len(order) - 2), -1]]))


def tokens(prompts: Prompts) -> Encoded:
    """Prompts that are words. DasError for what a network that reads words cannot be given."""
    if not isinstance(prompts, Encoded):
        raise DasError(
            "this network reads words, and the task's inputs are tensors: give a das.Net, or a task with a das.Prompt"
        )
    return prompts


def places(prompts: Prompts) -> Tensor:
    """(rows, length): each column's place in its prompt, −1 for padding."""
    start = prompts.width - prompts.lengths
    place = np.arange(prompts.width) - start[:, None]
    return torch.from_numpy(np.maximum(place, -1))
