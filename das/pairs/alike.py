"""Alike: hypotheses that pairs cannot tell from their own, where everything that differs may be swapped."""

from __future__ import annotations

from collections.abc import Mapping

from das.causal.columns import Columns, codes, one_to_one
from das.task.hypothesis import Hypothesis


def alike(hypotheses: Mapping[str, Hypothesis], name: str, variable: str, pool: Columns) -> list[str] | None:
    """The hypotheses, of a task's, under which a network would not compute a variable of the hypothesis `name`. None where no
    causal model says what that is.

    All models of a task answer alike, and a swap of all that differs is the source itself: so under each of them pairs that
    take the source's answer flip just the same. A model computes the variable if one of its own has the same values on a pool
    of prompts, in whatever words.
    """
    model = hypotheses[name].model
    if not model.complete:
        return None
    own = codes(model.run(pool)[variable])
    rivals = {other: h.model for other, h in hypotheses.items() if other != name and h.model.complete}
    return [other for other, its in rivals.items() if not any(one_to_one(codes(c), own) for c in its.run(pool).values())]
