"""Apply: a found alignment on prompts of one's own: what it changes in the answer, in a text, in any call of the network."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from das.errors import DasError, shown
from das.find.alignment import Alignment
from das.network.lm import LM
from das.task.files import load_task
from das.task.task import Task
from das.use.applied import Applied
from das.use.generated import Generated
from das.use.own_pairs import At
from das.use.swapper import Swapper


def swapper(lm: LM | str, alignment: Alignment | str | Path, task: Task | str | None = None) -> Swapper:
    """A network, an alignment or its folder, and the task it was found for, if there is one."""
    found = Alignment.load(alignment) if isinstance(alignment, str | Path) else alignment
    if not isinstance(found, Alignment):
        raise DasError(f"the alignment is {shown(alignment)}: expected a das.Alignment, or the folder of a cell")
    if not isinstance(lm, LM | str):
        raise DasError(f"lm is {shown(lm)}: expected a das.LM, or the name or folder of a network")
    return Swapper(found, LM.load(lm) if isinstance(lm, str) else lm, None if task is None else load_task(task))


def apply(
    lm: LM | str, alignment: Alignment | str | Path, base: Any, source: Any = None, *, sources: Any = None,
    task: Task | str | None = None, **places: At,
) -> Applied:  # fmt: skip
    """What the network answers to the base before and after the swap, and what it answers to the source.

    base, source: a text, values of the task's inputs, columns of many values, or a list; a source's missing values are the
        base's. sources: variable → its own source, where there are several variables; one that is left out keeps its value.
    places: `position`, or where it differs `base_position` and `source_position`: the number of a token (from the end with -1),
        a piece of the text (`das.Substring` says which of its tokens, and which of several pieces that are alike), the name of
        a position, or a list with one of these for each prompt; by default the alignment's own position.
    """
    return swapper(lm, alignment, task).apply(base, source, sources=sources, **places)


def generate(
    lm: LM | str, alignment: Alignment | str | Path, base: Any, source: Any = None, *, sources: Any = None, tokens: int = 20,
    task: Task | str | None = None, options: Mapping[str, Any] | None = None, **places: At,
) -> Generated:  # fmt: skip
    """How the network goes on from the base before and after the swap, and from the source. Prompts and places as in `apply`.

    The swap is made at its place in the base, and what follows is generated from that: greedily, unless `options` of the
    network's own `generate` say otherwise, up to `tokens` tokens.
    """
    return swapper(lm, alignment, task).generate(base, source, sources=sources, tokens=tokens, options=options, **places)


def swapped(
    lm: LM | str, alignment: Alignment | str | Path, source: Any = None, *, sources: Any = None, base: Any = None,
    task: Task | str | None = None, **places: At,
) -> AbstractContextManager[Any]:  # fmt: skip
    """Keeps the swap in every call of the network, `model(…)` and `model.generate(…)`, for the time of a `with` block, which is
    given the network (of transformers, or a module of one's own).

    source: one for all prompts of a call, or one for each. base: the prompts of the calls, where the place is one by name or in
        their text; a call whose prompts begin otherwise is refused. Without it the place is counted in each call's prompts,
        among the tokens that are no padding: the number of a token, `last`, or a piece of the text. places: as in `apply`.
    A forward that goes on from a cache is no prompt of its own: what was swapped is in the cache. In a loop of one's own
    without a cache every forward is a prompt: there give the number of the token from 0.
    """
    return swapper(lm, alignment, task).swapped(source, base=base, sources=sources, **places)
