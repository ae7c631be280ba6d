"""Written: pairs as the rows of a table that `das.own_task` and `das.with_pairs` read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from das.causal.columns import Columns, objects
from das.pairs.pairs import Pairs
from das.task.brought import PROMPT
from das.task.marked import Marked
from das.task.task import Task
from das.task.texts import Texts


def pair_rows(task: Task, pairs: Mapping[str, Mapping[str, Pairs]]) -> pd.DataFrame:
    """A row per pair: `base`, `source` (of several variables `source:V`, empty where V is not swapped), the answers in words,
    where the fields are and what the inputs are in each prompt, `family`, `split` and `hypothesis`. pairs: split → hypothesis →
    pairs.

    >>> rows.to_csv("pairs.csv", index=False)  # doctest: +SKIP
    """
    tables = [
        pd.DataFrame(dict(_columns(task, some)), dtype=object).assign(split=split, hypothesis=name)
        for split, named in pairs.items()
        for name, some in named.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    if len(task.hypotheses) == 1:
        table = table.drop(columns="hypothesis")
    return table.apply(_whole)


def _whole(column: pd.Series[Any]) -> pd.Series[Any]:
    """Whole numbers stay so beside empty cells."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return column.astype("Int64") if kind == "integer" else column.infer_objects()


def _columns(task: Task, pairs: Pairs) -> Iterator[tuple[str, Any]]:
    several = len(pairs.sources) > 1
    yield from _side(task, "base", pairs.base, [True] * len(pairs))
    for i, (variable, source) in enumerate(pairs.sources.items()):
        side = f"source:{variable}" if several else "source"
        yield from _side(task, side, source, pairs.swapped[:, i].tolist())
    answers = {"label": pairs.answer, "base_label": pairs.base_answer, "source_label": pairs.source_answer}
    yield from ((role, task.prompt.answer_texts(column)) for role, column in answers.items() if column is not None)
    yield "family", pairs.family


def _side(task: Task, side: str, inputs: Columns, asked: list[bool]) -> Iterator[tuple[str, Any]]:
    """The text of a base or a source, and what is said of it."""
    prompts, rendered = inputs.get(PROMPT), task.render(inputs)
    own = prompts is not None and isinstance(prompts[0], Marked)
    if isinstance(rendered, Texts):
        yield side, _where(asked, rendered.texts)
        spans = {name: [span if span[0] < span[1] else None for span in at.tolist()] for name, at in rendered.spans.items()}
        tokens = {name: at.tolist() for name, at in rendered.tokens.items()}
        places = {name: at for name, at in (spans | tokens).items() if name.isidentifier()}
        yield from ((f"{side}@{name}", _where(asked, at)) for name, at in places.items() if name != PROMPT)
    for name, column in inputs.items():
        if not (own and name == PROMPT):
            yield f"{side}.{name}", _where(asked, column.tolist())


def _where(asked: list[bool], cells: list[Any]) -> Any:
    return objects([cell if there else None for cell, there in zip(cells, asked, strict=True)])
