"""Own pairs: a base and its sources as a user gives them, as tokens with the places of a swap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from das.errors import DasError, shown, unknown
from das.ground.checks import check_known
from das.interchange.applied import unlabelled
from das.network.site import Place
from das.pairs.dataset import Dataset, Rows
from das.task.answers import Answers
from das.task.pointing import Pointer
from das.task.rendered import Prompts
from das.use.applied import BEFORE
from das.use.asked import Asked

Pointed = Pointer | list[Pointer] | None
At = Pointed | Mapping[str, Pointed]


@dataclass(frozen=True)
class Places:
    """Where a swap lies: in base and source, or in one of them where that differs. A token's number, a position's name, a piece
    of the text, or a list with one of these for each prompt; by default where the alignment was found. Of an alignment at
    several positions, a mapping from these to where they are."""

    position: At = None
    base_position: At = None
    source_position: At = None

    @classmethod
    def given(cls, places: Mapping[str, At]) -> Places:
        """From the words of a call."""
        check_known(cls, places, "option")
        return cls(**places)

    def of(self, name: str) -> At:
        """In the base (`before`), or in a source."""
        own = self.base_position if name == BEFORE else self.source_position
        return self.position if own is None else own


def by_position(given: At, places: Sequence[Place]) -> dict[str, Pointed]:
    """Position of the places → where it was said to be. DasError where one pointer is given for several positions."""
    names = dict.fromkeys(place.position for place in places)
    if isinstance(given, Mapping):
        return {name: given.get(name) for name in names}
    if given is not None and len(names) > 1:
        raise DasError(f"the swap lies at {', '.join(names)}: say where each is, as position: {{{next(iter(names))}: 3, …}}")
    return dict.fromkeys(names, given)


@dataclass(frozen=True)
class OwnPairs:
    """prompts: `before` and the sources (see `sources_of`), equally many of each; taken: variable → which of them it is taken
    from, None where it keeps its value; data: all of them as tokens, pair by pair."""

    prompts: Mapping[str, Asked]
    taken: Mapping[str, str | None]
    data: Dataset

    @classmethod
    def make(
        cls, base: Asked, sources: Mapping[str, Asked], taken: Mapping[str, str | None],
        encoded: Callable[[str, Asked], Prompts],
    ) -> OwnPairs:  # fmt: skip
        """encoded: the tokens of the prompts of a name, with their place."""
        rows = max(map(len, [base, *sources.values()]))
        prompts = {name: each.spread(rows, name) for name, each in ({BEFORE: base} | dict(sources)).items()}
        parts = [encoded(name, each) for name, each in prompts.items()]
        if len({type(part) for part in parts}) > 1:
            raise DasError("a text beside values of a task that puts no texts: expected one kind")
        tokens = type(parts[0]).concat(_alike(parts))
        order = list(prompts)
        own = np.stack([np.arange(rows) + rows * order.index(name or BEFORE) for name in taken.values()])
        return cls(prompts, taken, unlabelled(tokens, np.arange(rows), own))

    def __len__(self) -> int:
        return len(self.prompts[BEFORE])

    def labelled(self, answers: Answers, label: Rows) -> Dataset:
        """The same data with the answers that should come out, (pairs,), ready to be read."""
        pairs = replace(self.data.pairs[""], label=label, base_label=label, source_label=label)
        return Dataset(self.data.prompts, {"": pairs}, answers).begun()

    def rows(self, name: str) -> Rows:
        """Where the prompts of a name lie in the data."""
        return np.arange(len(self)) + len(self) * list(self.prompts).index(name)

    def tokens(self, name: str) -> Prompts:
        """The prompts of a name."""
        return self.data.prompts.take(self.rows(name))


def _alike(parts: Sequence[Prompts]) -> Sequence[Prompts]:
    """Prompts that all have the same positions. Of one that is asked for in others alone nothing is read in these: their last
    columns stand for it. DasError where a position covers other numbers of tokens in one part than in another."""
    counts = {name: at.shape[1] for part in parts for name, at in part.positions.items()}
    for part in parts:
        for name, count in counts.items():
            own = part.positions.setdefault(name, np.full((len(part), count), part.width - 1))
            if own.shape[1] != count:
                raise DasError(f"{name} covers {own.shape[1]} tokens in one prompt and {count} in another: expected as many")
    return parts


def sources_of(
    source: Any, sources: Any, variables: Sequence[str], ask: Callable[[Any, str], Asked]
) -> tuple[dict[str, Asked], dict[str, str | None]]:
    """`source`, or with `sources` for each variable `source.<variable>` → its prompts; and variable → which of these it is
    taken from, None where it has none. sources: variable → source, or a list in the order of the variables."""
    if (source is None) == (sources is None):
        raise DasError("expected a source: source=… for all variables, or sources=… with one for each")
    if sources is None:
        return {"source": ask(source, "source")}, dict.fromkeys(variables, "source")
    if isinstance(sources, list | tuple) and len(sources) == len(variables):
        sources = dict(zip(variables, sources, strict=True))
    if not isinstance(sources, Mapping):
        raise DasError(f"sources are {shown(sources)}: expected a mapping from variables ({', '.join(variables)}) to sources")
    for name in sources:
        if name not in variables:
            raise unknown("aligned variable", name, variables)
    named = {f"source.{name}": ask(each, f"source of {name}") for name, each in sources.items() if each is not None}
    if not named:
        raise DasError("no variable has a source: there is nothing to swap")
    return named, {v: f"source.{v}" if f"source.{v}" in named else None for v in variables}
