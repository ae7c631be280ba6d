"""Brought: the pairs of a hypothesis that a user brings, row by row, read from tables and held against the causal model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, as_column, concat, differ, objects, take
from das.errors import DasError, shown
from das.ground.rows import Table, read_rows, splits_of
from das.task.cells import give_type
from das.task.form import Form
from das.task.hypothesis import Hypothesis
from das.task.marked import Marked
from das.task.roles import LABELS, SPLITS, Roles

PROMPT = "prompt"
"""The input that holds a prompt's own text."""

MOST_SHOWN = 5
"""Disagreements that an error lists."""


@dataclass(frozen=True)
class Brought:
    """Pairs of one hypothesis.

    base: input columns; sources: aligned variable → input columns of its source, the base's own where `swapped` is False.
    swapped: (pairs, variables). labels: `label`, and of `base_label` and `source_label` those that are known → answers in
    words. split: each pair's; None where nothing says it. family: each pair's. rows: how errors call each.
    """

    base: Columns
    sources: dict[str, Columns]
    swapped: NDArray[np.bool_]
    labels: dict[str, Column]
    split: Column | None
    family: Column
    rows: Column

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Any) -> Brought:
        """Some of the pairs."""
        sources = {v: take(source, rows) for v, source in self.sources.items()}
        split, labels = None if self.split is None else self.split[rows], take(self.labels, rows)
        return Brought(take(self.base, rows), sources, self.swapped[rows], labels, split, self.family[rows], self.rows[rows])

    @property
    def texts(self) -> bool:
        """Whether the prompts are the user's own texts."""
        return isinstance(self.base.get(PROMPT, [None])[0], Marked)

    @property
    def prompts(self) -> Columns:
        """All settings that are asked, bases first."""
        return concat([self.base, *self.sources.values()])

    @cached_property
    def print(self) -> str:
        """Of all that it holds, the same in every process."""
        splits = {} if self.split is None else {"split": self.split}
        tables: list[Columns] = [self.base, *self.sources.values(), self.labels, splits]
        held = [(name, [repr(value) for value in column]) for table in tables for name, column in table.items()]
        return hashlib.blake2b(repr(held).encode(), digest_size=16).hexdigest()


# --- reading ---


def tables_of(data: Any, columns: Mapping[str, str | None]) -> list[Table]:
    """What is read of a table, or of several by split, whose rows then bear the column `split`."""
    parts = splits_of(data)
    if parts is None:
        return [read_rows(data, "the pairs").renamed(columns)]
    tables = []
    for split, some in parts.items():
        if split not in SPLITS:
            raise DasError(f"the pairs are given for {shown(split)}: expected one of {', '.join(SPLITS)}")
        table = read_rows(some, f"the pairs for {split}").renamed(columns)
        tables.append(Table(table.name, table.columns | {"split": [split] * len(table)}, table.texts))
    return tables


def variables_in(tables: Sequence[Table]) -> tuple[str, ...]:
    """The variables that tables name by `source:V`; one, called `swapped`, where there is a single `source`."""
    names = dict.fromkeys(name for table in tables for name in table.columns)
    own = [name.removeprefix("source:") for name in names if re.fullmatch(r"source:(?!\d)\w+", name)]
    return tuple(own) or ("swapped",)


class Reader:
    """Reads tables as the pairs of hypotheses.

    variables: hypothesis → what it aligns. inputs: those whose values the tables have to say; None: whatever they say.
    computed: the other variables that they speak of. known: variables that may have a column. texts: whether the prompts are
    the tables' own texts. asked: hypotheses that are asked for; by default all.
    """

    def __init__(
        self, tables: Sequence[Table], variables: Mapping[str, Sequence[str]], places: Mapping[str, Any],
        inputs: Sequence[str] | None, known: Sequence[str] | None, texts: bool, asked: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self.tables, self.variables, self.texts = tables, variables, texts
        self.asked = [name for name in variables if asked is None or name in asked]
        self.roles = {name: list(self._roles(name, places)) for name in variables}
        every = [roles for some in self.roles.values() for roles in some]
        for roles in every:
            roles.check(known)
        said = dict.fromkeys(x for roles in every for x in roles.metadata)
        self.inputs = list(said if inputs is None else inputs)
        self.computed = [x for x in said if x not in self.inputs]

    def _roles(self, name: str, places: Mapping[str, Any]) -> Iterator[Roles]:
        for table in self.tables:
            if "hypothesis" in table.columns:
                given = Roles(table, (), {}).texts("hypothesis")
                for row, other in enumerate(given):
                    if other not in self.variables:
                        raise DasError(f"{table.at(row)}: hypothesis {other!r}: expected one of {', '.join(self.variables)}")
                table = table.take([row for row, other in enumerate(given) if other == name]).filled()
            elif len(self.asked) > 1:
                raise DasError(
                    f"{table.name} does not say whose pairs its rows are: the task has the hypotheses "
                    f"{', '.join(self.variables)}; add a column `hypothesis`, or ask for one: --hypotheses {self.asked[0]}"
                )
            if len(table) and ("hypothesis" in table.columns or name in self.asked):
                yield Roles(table, self.variables[name], places)

    def brought(self, kinds: Mapping[str, Any]) -> dict[str, Brought]:
        """Hypothesis → its pairs. kinds: input → its domain, where there is one: it says whether what a CSV file holds is a
        text or a number."""
        raw = {name: [_Raw.of(roles, self._columns(), self.texts) for roles in some] for name, some in self.roles.items()}
        every = [part for parts in raw.values() for part in parts]
        for x in self._columns():
            give_type(x, [(side, part.roles.table.texts) for part in every for side in part.sides], kinds.get(x))
        return {name: _joined(parts) for name, parts in raw.items() if parts}

    def texts_of(self) -> dict[str, dict[str, list[str | None]]]:
        """Hypothesis → `base` or variable → the texts of the rows, of tables that hold such beside the inputs' values."""
        found: dict[str, dict[str, list[str | None]]] = {}
        for name, some in self.roles.items():
            for roles in some if all("base" in each.table.columns for each in some) else ():
                for variable in (None, *roles.variables):
                    if roles.has_text(variable):
                        asked = roles.prompts(variable, roles.swapped(variable))
                        texts = [None if prompt is None else prompt.text for prompt in asked]
                        found.setdefault(name, {}).setdefault(variable or "base", []).extend(texts)
        return found

    def _columns(self) -> list[str]:
        return [*self.inputs, *self.computed]


@dataclass
class _Raw:
    """What one table says of one hypothesis: plain cells."""

    roles: Roles
    base: dict[str, list[Any]]
    sources: dict[str, dict[str, list[Any]]]
    swapped: dict[str, list[bool]]

    @classmethod
    def of(cls, roles: Roles, inputs: Sequence[str], texts: bool) -> _Raw:
        everywhere = [True] * len(roles.table)
        swapped = {v: roles.swapped(v) for v in roles.variables}
        for row, some in enumerate(zip(*swapped.values(), strict=True)):
            if not any(some):
                raise DasError(f"{roles.table.at(row)}: no variable has a source: expected one in a column source:<variable>")

        def read(variable: str | None, asked: Sequence[bool]) -> dict[str, list[Any]]:
            own = {PROMPT: roles.prompts(variable, asked)} if texts else {}
            return own | {x: roles.values(variable, x, asked) for x in inputs}

        base = read(None, everywhere)
        sources = {v: _filled(read(v, asked), asked, base) for v, asked in swapped.items()}
        return cls(roles, base, sources, swapped)

    @property
    def sides(self) -> list[dict[str, list[Any]]]:
        return [self.base, *self.sources.values()]


def _filled(source: dict[str, list[Any]], asked: Sequence[bool], base: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A variable's sources, the base in rows in which it is not swapped."""
    return {
        name: [own if there else other for own, there, other in zip(cells, asked, base[name], strict=True)]
        for name, cells in source.items()
    }


def _joined(parts: Sequence[_Raw]) -> Brought:
    """All tables' pairs of one hypothesis."""
    roles = [part.roles for part in parts]
    splits = [each.splits() for each in roles]
    if len({split is None for split in splits}) > 1:
        raise DasError("some of the tables say which split a pair is in (column `split`), others do not")
    said = {name: [column for each in roles if (column := each.labels(name)) is not None] for name in LABELS}
    family = [objects(each.texts("family")) if "family" in each.table.columns else _own(each.table) for each in roles]
    return Brought(
        base=concat([_columns(part.base) for part in parts]),
        sources={v: concat([_columns(part.sources[v]) for part in parts]) for v in parts[0].sources},
        swapped=np.concatenate([np.array(list(part.swapped.values()), bool).T for part in parts]),
        labels={name: np.concatenate(columns) for name, columns in said.items() if len(columns) == len(parts)},
        split=np.concatenate([split for split in splits if split is not None]) if splits[0] is not None else None,
        family=np.concatenate(family),
        rows=objects([each.table.at(row) for each in roles for row in range(len(each.table))]),
    )


def _own(table: Table) -> Column:
    return objects(["own"] * len(table))


def _columns(cells: Mapping[str, list[Any]]) -> Columns:
    return {name: as_column(some, f"column {name!r}") for name, some in cells.items()}


# --- held against the causal model ---


def check_labels(name: str, hypothesis: Hypothesis, prompt: Form, brought: Brought) -> None:
    """DasError that lists the first rows whose labels are others than the causal model gives."""
    answers = answers_of(hypothesis, brought)
    wrong = [
        (row, f"{role} {said!r}, by the model {' or '.join(map(repr, forms))}")
        for role, given in brought.labels.items()
        for row, (said, forms) in enumerate(zip(given, prompt.answer_forms(answers[role]), strict=True))
        if said not in forms
    ]
    _refuse(name, brought, wrong)


def check_computed(name: str, hypothesis: Hypothesis, brought: Brought, said: Sequence[str]) -> Brought:
    """The pairs without what they say of variables that the causal model computes; DasError that lists the first rows that say
    something else than it does."""
    wrong, sides = [], []
    for side in (brought.base, *brought.sources.values()):
        inputs = {x: column for x, column in side.items() if x not in said}
        table = hypothesis.model.run(inputs)
        for x in said:
            found, given = table[x].tolist(), side[x].tolist()
            rows = np.flatnonzero(differ(table[x], side[x])).tolist()
            wrong += [(row, f"{x} is {given[row]!r}, by the model {found[row]!r}") for row in rows]
        sides.append(inputs)
    _refuse(name, brought, wrong)
    return replace(brought, base=sides[0], sources=dict(zip(brought.sources, sides[1:], strict=True)))


def _refuse(name: str, brought: Brought, wrong: Sequence[tuple[int, str]]) -> None:
    """DasError, if rows are wrong. wrong: row, and in what."""
    if wrong:
        lines = [f"{brought.rows[row]}: {what}" for row, what in sorted(wrong)[:MOST_SHOWN]]
        some = len({row for row, _ in wrong})
        raise DasError(
            f"{some} of {len(brought)} pairs of {name!r} disagree with its causal model. The first:\n  " + ";\n  ".join(lines)
        )


def answers_of(hypothesis: Hypothesis, brought: Brought) -> dict[str, Column]:
    """What the causal model answers: the counterfactual (`label`), the base's and that of the first swapped source."""
    model, output = hypothesis.model, hypothesis.model.output
    sources = {v: model.run(source)[output] for v, source in brought.sources.items()}
    return {
        "label": model.interchange(brought.base, brought.sources)[output],
        "base_label": model.run(brought.base)[output],
        "source_label": _of_first_swapped(brought, sources),
    }


def _of_first_swapped(brought: Brought, columns: Mapping[str, Column]) -> Column:
    """Of a column for each variable's source, the entries of each pair's first swapped one."""
    if len(columns) == 1:
        return next(iter(columns.values()))
    first = brought.swapped.argmax(1)
    chosen: Column = np.stack(list(columns.values()))[first, np.arange(len(first))]
    return chosen
