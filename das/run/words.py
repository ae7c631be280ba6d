"""Words: what a run's prompts and answers say, kept in its folder so that a page needs neither the task nor the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from das.pairs.pairs import Pairs
from das.task.task import Task
from das.task.tokenizer import Tokenizer

TEXTS, PROMPT = "texts.parquet", "prompt.json"


def text_table(task: Task, pairs: Mapping[str, Pairs]) -> pd.DataFrame:
    """A row per test pair, in the order of `pairs.parquet`: `hypothesis`, the prompts `base` and `source.<variable>`, and
    `base_answer`, `source_answer` and `answer` as the network is to say them, a dash for those that nobody says. pairs:
    hypothesis → its test pairs."""
    return pd.concat([_texts(task, p).assign(hypothesis=name) for name, p in pairs.items()], ignore_index=True)


def _texts(task: Task, pairs: Pairs) -> pd.DataFrame:
    prompts = {"base": pairs.base} | {f"source.{variable}": source for variable, source in pairs.sources.items()}
    answers = ("base_answer", "source_answer", "answer")
    columns = {role: task.render(inputs).names for role, inputs in prompts.items()}
    given = {name: getattr(pairs, name) for name in answers}
    said = {name: ["–"] * len(pairs) if a is None else task.prompt.answer_texts(a) for name, a in given.items()}
    return pd.DataFrame(columns | said)


def prompt_body(task: Task, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, Any]:
    """An example prompt, the one of `Task.tokens_at`: its `text`; `tokens`, position → what stands there; and `positions` →
    [start, end) of each of their tokens, in characters (see `Rendered.where`). All in the order of the prompt."""
    example = task.example()
    at, spans = example.at(tokenizer, positions), example.where(tokenizer, positions)
    return {"text": example.names[0], "tokens": at, "positions": spans}
