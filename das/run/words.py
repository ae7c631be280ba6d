"""Words: what a run's prompts and answers say, kept in its folder so that a page needs neither the task nor the tokenizer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from das.pairs.dataset import Dataset, Rows
from das.pairs.pairs import Pairs
from das.task.task import Task
from das.task.tokenizer import Tokenizer

TEXTS, PROMPT, REPLIES = "texts.parquet", "prompt.json", "replies.parquet"


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


def reply_table(
    task: Task, tokenizer: Tokenizer, pairs: Pairs, data: Dataset, name: str, replied: NDArray[Any]
) -> pd.DataFrame:  # fmt: skip
    """A row per pair of a hypothesis: `reply`, what the network answered, in the words of `text_table`; what is none of the
    pairs' answers as the tokenizer writes it, with `…` where it may go on. replied: see `das.interchange.replied`, (pairs,
    steps)."""
    if replied.dtype.kind == "f":
        return pd.DataFrame({"reply": [", ".join(f"{value:.4g}" for value in row) for row in replied.tolist()]})
    asked, known = data.pairs[name], dict[tuple[int, ...], str]()
    said = (pairs.answer, asked.label), *zip(pairs.own_answers, (asked.base_label, asked.source_label), strict=True)
    for column, numbers in said:
        spelled = [tuple(_known(row)) for row in data.answers.spelling(numbers)]
        known |= dict(zip(spelled, task.prompt.answer_texts(column), strict=True))
    more = "…" if replied.shape[1] > 1 else ""
    on = set(data.answers.going_on.tolist())
    return pd.DataFrame({"reply": [_reply(known, on, tokenizer, _known(row), more) for row in replied]})


def _known(tokens: Rows) -> list[int]:
    return [token for token in tokens.tolist() if token >= 0]


def _reply(
    known: Mapping[tuple[int, ...], str], on: Collection[int], tokenizer: Tokenizer, tokens: Sequence[int], more: str
) -> str:
    """on: the tokens by which answers go on: before one of them none has ended."""
    for end in range(len(tokens), 0, -1):
        if (text := known.get(tuple(tokens[:end]))) and (end == len(tokens) or tokens[end] not in on):
            return text
    if tokenizer is None:
        return str(tokens[0])
    return (tokenizer.decode(tokens) or f"<{tokens[0]}>") + more


def prompt_body(task: Task, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, Any]:
    """An example prompt, the one of `Task.tokens_at`: its `text`, or what is given in its place where it has none; `tokens`,
    position → what stands there; and `positions` → [start, end) of each of their tokens, in characters (see
    `Rendered.where`). All in the order of the prompt."""
    example = task.example()
    at, spans = example.at(tokenizer, positions), example.where(tokenizer, positions)
    text = example.names[0] if any(spans.values()) else example.show(tokenizer, []).strip()
    return {"text": text, "tokens": at, "positions": spans}
