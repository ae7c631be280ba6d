"""Steer: what an alignment found, used to control a network while it reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from das.errors import DasError, shown
from das.find.alignment import Alignment
from das.network.lm import LM
from das.task.task import Task
from das.use.apply import swapper
from das.use.generated import Generated
from das.use.steerer import Steerer
from das.use.way import Way


def ways_of(also: Sequence[Mapping[str, Any]], find: Callable[[str], Steerer]) -> list[tuple[Steerer, Way]]:
    """What steers besides, each a mapping of a `cell` and its way. find: a cell's alignment, ready to steer."""
    ways = []
    for each in also:
        if not isinstance(each, Mapping) or not isinstance(each.get("cell"), str):
            raise DasError(f"also holds {shown(each)}: expected a mapping with a cell, such as {{cell: …, alpha: 2}}")
        ways.append((each["cell"], Way.of({name: value for name, value in each.items() if name != "cell"})))
    return [(find(cell), way) for cell, way in ways]


def steerer(lm: LM | str, alignment: Alignment | str | Path, task: Task | str | None = None) -> Steerer:
    """A network, an alignment or its folder, and the task it was found for, if there is one."""
    made = swapper(lm, alignment, task)
    return Steerer(made.alignment, made.lm, made.task)


def steer(
    lm: LM | str, alignment: Alignment | str | Path, prompts: Any, *, tokens: int | None = None, task: Task | str | None = None,
    options: Mapping[str, Any] | None = None, **way: Any,
) -> Generated:  # fmt: skip
    """How the network goes on from prompts before and after it is steered by what an alignment found, up to `tokens` tokens: by
    default as many as the answers have where the prompts are values of the task's inputs, and 20 of texts.

    prompts: texts, or values of the task's inputs, as in `das.apply`; several of unequal length at once. way:
    operator: `add` (h + α·v), `piecewise` (h + α·sign(h·v)·v), `project_out` (all of the alignment's directions, or the
        variable's), `interchange` (its part as the `source` has it), `contrast` (h + α·(h⁺ − h⁻), of the prompts `plus` and
        `minus` run beside, each with the text so far after it).
    alpha: of add and piecewise the length along the direction, whose v has length 1; of contrast a factor, by default 1.
        spreads: in place of alpha, in natural spreads (see `das.judge.dose`), measured on prompts of the task.
    variable: which one's direction, where there are several; of several directions the first is v.
    layers: a number, a list or a band `3..6`; by default the alignment's own, whose component and direction it is in each.
    new: `all`, or the numbers of new tokens whose making is steered, from 0, which is made at the prompt's last token. By
        default all, unless `position` names tokens of the prompt: as in `das.apply`, or `all`.
    source: of interchange, a prompt for all or one for each; source_position: see `das.apply`. plus, minus: likewise.
    """
    return steerer(lm, alignment, task).steer(prompts, tokens=tokens, options=options, **way)


def steered(
    lm: LM | str, alignment: Alignment | str | Path, *, base: Any = None, task: Task | str | None = None, **way: Any
) -> AbstractContextManager[Any]:
    """Steers every call of the network, `model(…)` and `model.generate(…)`, for the time of a `with` block, which is given the
    network. Several of them hold at once, and beside `das.swapped`. way: as in `steer`; base: as in `das.swapped`."""
    return steerer(lm, alignment, task).steering(base, **way)
