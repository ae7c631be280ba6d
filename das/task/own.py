"""Own: tasks of a user's own prompts and pairs, and tasks some of whose pairs a user brings."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from das.causal.columns import Column, Columns, codes, concat, take
from das.causal.domains import Sampler
from das.causal.inputs import Inputs
from das.causal.listed import ANSWER, Listed
from das.errors import DasError
from das.ground.rows import Table
from das.task.brought import (
    PROMPT,
    Brought,
    Reader,
    check_computed,
    check_labels,
    tables_of,
    variables_in,
)  # fmt: skip
from das.task.hypothesis import Hypothesis, remodelled
from das.task.prompt import Prompt
from das.task.task import Task

PAIRS = "pairs"
"""The name of the hypothesis where no causal model is given."""

LETTERS = re.compile(r"[a-zA-ZÀ-ɏ]{2}")
"""Two letters of a script that puts spaces between words."""

Answers = Mapping[Any, str] | Callable[[Any], str]


def as_said(value: Any) -> str:
    """The answer that a table says, as it stands."""
    if not isinstance(value, str):
        raise DasError(
            "nothing says how the network should answer the prompts themselves: add the columns `base_label` and `source_label`"
        )
    return value


def own_task(
    data: Any, hypotheses: Mapping[str, Hypothesis] | None = None, *, answers: Answers = as_said,
    positions: Sequence[str] = ("last",), places: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | None] | None = None, name: str = "own",
) -> Task:  # fmt: skip
    """A task whose prompts are the texts that a table holds, and whose pairs are its rows.

    data: a file (csv, tsv, jsonl, json, parquet), a folder that `datasets` saved, a DataFrame, a list of mappings, a
        `datasets.Dataset`, or a mapping from split (train, val, test) to one of these.
    hypotheses: whose causal models the rows are held against; `base.X` and `source.X` then say what their inputs are. Without
        any there is one, `pairs`, and what takes a causal model is not asked.
    answers: output value of the causal models → text, as in `Prompt`; by default the outputs are the texts.
    places: name → a piece of the text, (start, end) characters or the number of a token, the same for all prompts; the columns
        `base@name` and `source@name` say it of each. A place is a position by its name.
    columns: the table's column → what it is (`base`, `source`, `label`, …), None to leave it out.

    Rows without a `split` are cut into splits by their prompts. DasError on whatever is wrong in the table.
    """
    tables, places = tables_of(data, columns or {}), places or {}
    if hypotheses is None:
        tables = _of_one(tables)
        return _without_model(Reader(tables, {PAIRS: variables_in(tables)}, places, None, None, True), answers, positions, name)
    return _with_models(hypotheses, tables, places, answers, positions, name)


def _with_models(
    hypotheses: Mapping[str, Hypothesis], tables: Sequence[Table], places: Mapping[str, Any], answers: Answers,
    positions: Sequence[str], name: str,
) -> Task:  # fmt: skip
    known = list(dict.fromkeys(v for h in hypotheses.values() for v in h.model.variables))
    variables = {n: h.variables for n, h in hypotheses.items()}
    if PROMPT in known:
        raise DasError(f"a variable of the causal model is called {PROMPT!r}, as the texts are: give it another name")
    first = next(iter(hypotheses.values())).model
    read = Reader(tables, variables, places, first.inputs.names, known, True)
    pairs = read.brought(first.inputs.domains)
    inputs = _inputs(first.inputs, _distinct(pairs, first.inputs.names))
    asked = remodelled(hypotheses, lambda model: model.beside(inputs))
    return _with(Task(Prompt(f"{{{PROMPT}}}", answers), asked, positions, name=name, pairs=pairs), pairs, read.computed)


def with_pairs(
    task: Task, data: Any, columns: Mapping[str, str | None] | None = None, hypotheses: Sequence[str] | None = None
) -> Task:  # fmt: skip
    """The task with pairs that are brought for it: those of the splits that the data name (see `own_task`), where they name
    none those of all; what is left is drawn. The columns `base.X` and `source.X` say what the task's inputs are in a pair;
    texts and labels, if there are any, are held against what the task writes and answers. hypotheses: those that are asked
    for: rows that do not say whose they are can only be of a single one."""
    tables = tables_of(data, columns or {})
    variables = {n: h.variables for n, h in task.hypotheses.items()}
    read = Reader(tables, variables, {}, task.model.inputs.names, task.model.variables, False, hypotheses)
    pairs = read.brought(task.model.inputs.domains)
    for name, sides in read.texts_of().items():
        for side, texts in sides.items():
            _check_texts(task, pairs[name], side, texts)
    return _with(task, pairs, read.computed)


def _check_texts(task: Task, brought: Brought, side: str, texts: Sequence[str | None]) -> None:
    """DasError where a text of the table is not what the task writes for the values beside it."""
    columns = brought.base if side == "base" else brought.sources[side]
    for row, (own, text) in enumerate(zip(task.render(columns).names, texts, strict=True)):
        if text is not None and own != text:
            raise DasError(f"{brought.rows[row]}: the text is {text!r}, but the task writes {own!r} for these values")


def _with(task: Task, pairs: Mapping[str, Brought], computed: Sequence[str]) -> Task:
    """A task with pairs that agree with its causal models."""
    held = {}
    for name, brought in pairs.items():
        hypothesis = task.hypotheses[name]
        held[name] = check_computed(name, hypothesis, brought, computed) if computed else brought
        check_labels(name, hypothesis, task.prompt, held[name])
    return replace(task, pairs=held)


# --- without a causal model ---


def _without_model(read: Reader, answers: Answers, positions: Sequence[str], name: str) -> Task:
    brought = read.brought({})[PAIRS]
    if "label" not in brought.labels:
        raise DasError(f"{read.tables[0].name} has no column 'label': without a causal model it has to say the answers")
    for taken in {PROMPT, ANSWER, *brought.sources} & set(read.inputs):
        raise DasError(f"a column says what {taken!r} is, which has another meaning here: give it another name")
    if answers is as_said:
        _check_begun(brought)
    known = _known_answers(brought)
    swaps: dict[tuple[Hashable, ...], str] = {}
    together = zip(brought.base[PROMPT], *(s[PROMPT] for s in brought.sources.values()), strict=True)
    for row, (prompts, label) in enumerate(zip(together, brought.labels["label"], strict=True)):
        if (other := swaps.setdefault(prompts, label)) != label:
            raise DasError(f"{brought.rows[row]}: the label is {label!r}, but another row with the same prompts has {other!r}")
    variables = list(brought.sources)
    model = Listed(_inputs(None, _distinct({PAIRS: brought}, read.inputs)), PROMPT, variables, known, swaps)
    labels = {"label": brought.labels["label"]}
    pairs = {PAIRS: replace(brought, labels=labels)}
    return Task(Prompt(f"{{{PROMPT}}}", answers), {PAIRS: Hypothesis(model, *variables)}, positions, name=name, pairs=pairs)


def _check_begun(brought: Brought) -> None:
    """DasError where every label would only make its prompt's last word longer."""
    prompts, labels = [prompt.text for prompt in brought.base[PROMPT]], brought.labels["label"].tolist()
    if all(LETTERS.fullmatch(text[-1:] + said[:1]) for text, said in zip(prompts, labels, strict=True)):
        raise DasError(
            f"{brought.rows[0]}: behind its prompt the label makes one word, {(prompts[0] + labels[0])[-24:]!r}: let labels "
            f"begin with the space, {' ' + labels[0]!r}; from Python answers=str takes them as they stand"
        )


def _of_one(tables: Sequence[Table]) -> list[Table]:
    """Without the column that says whose pairs the rows are, where all of them are one's."""
    whose = {name for table in tables for name in table.columns.get("hypothesis", [None])}
    return [table.renamed({"hypothesis": None}) for table in tables] if len(whose) == 1 and None not in whose else [*tables]


def _known_answers(brought: Brought) -> dict[Hashable, str]:
    """Prompt → its own answer, of those that some row says it of. DasError where rows differ."""
    known: dict[Hashable, str] = {}
    texts: dict[str, str] = {}
    first = brought.swapped.argmax(1)
    sources = [source[PROMPT] for source in brought.sources.values()]
    sides: dict[str, Any] = {
        "base_label": brought.base[PROMPT],
        "source_label": [sources[v][row] for row, v in enumerate(first)],
    }
    for role, prompts in sides.items():
        for row, (prompt, said) in enumerate(zip(prompts, brought.labels.get(role, ()), strict=False)):
            if (other := texts.setdefault(prompt.text, said)) != said:
                raise DasError(f"{brought.rows[row]}: {role} is {said!r}, but another row answers the same text {other!r}")
    for prompt in brought.prompts[PROMPT]:
        if prompt.text in texts:
            known[prompt] = texts[prompt.text]
    return known


# --- inputs that are the rows of a table ---


def _distinct(pairs: Mapping[str, Brought], inputs: Sequence[str]) -> Columns:
    """Every prompt of the pairs once, in the order of its first use: its text and what is said of it."""
    every = concat([brought.prompts for brought in pairs.values()])
    kept = {x: every[x] for x in (PROMPT, *inputs)}
    return take(kept, np.sort(np.unique(codes(*kept.values()), return_index=True)[1]))


def _inputs(known: Inputs | None, prompts: Columns) -> Inputs:
    """Inputs that are drawn from prompts, row by row. known: the causal model's own, with their domains."""
    n = len(prompts[PROMPT])

    def draw(rng: np.random.Generator, some: int) -> Columns:
        return take(prompts, rng.integers(0, n, some))

    def alone(x: str, rng: np.random.Generator, some: int) -> Column:
        return draw(rng, some)[x]

    domains: dict[str, Any] = {x: Sampler(partial(alone, x)) for x in prompts}
    return Inputs(domains | (known.domains if known else {}), known.where if known else (), draw)
