"""Table: the pairs of a run as rows, and which of their prompts are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype, is_object_dtype
from pandas.util import hash_pandas_object

from das.causal.columns import objects
from das.pairs.dataset import Dataset, Rows
from das.pairs.pairs import Pairs

PROMPT = "prompt."
"""What the columns of `pairs.parquet` begin with that hold prompts' identities."""

PART = ["split", "hypothesis"]
"""Its columns that say whose pair a row is."""


def pair_table(pairs: Pairs, identities: Mapping[str, Rows] | None = None) -> pd.DataFrame:
    """A row per pair, as `pairs.parquet` holds them: what is neither a number nor a text is JSON.

    identities: role → each row's prompt (see `Dataset.roles`), the columns `prompt.base` and `prompt.source.<variable>`.
    """
    mine = {f"{PROMPT}{role}": pd.array(rows, "Int64") for role, rows in (identities or {}).items()}  # a float has 53 bits
    columns = {name: column if column.ndim == 1 else objects(column.tolist()) for name, column in pairs.columns().items()}
    return _written(pd.DataFrame(columns).assign(**mine))


def all_pairs(pairs: Mapping[str, Mapping[str, Pairs]], data: Mapping[str, Dataset]) -> pd.DataFrame:
    """The table of `pairs.parquet`. pairs: split → hypothesis → pairs; data: split → the same as tokens."""
    tables = [
        pair_table(p, data[split].roles(name, p.sources)).assign(split=split, hypothesis=name)
        for split, named in pairs.items()
        for name, p in named.items()
    ]
    return _written(pd.concat(tables, ignore_index=True))


def _written(frame: pd.DataFrame) -> pd.DataFrame:
    """With JSON in place of what a column of texts or numbers cannot hold."""
    for column in (c for c in frame if is_object_dtype(frame[c])):
        frame[column] = frame[column].map(lambda v: v if _missing(v) or isinstance(v, str) else json.dumps(v, default=str))
    return frame


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def prompt_codes(table: pd.DataFrame) -> dict[str, Rows]:
    """Of a table of pairs, `base` and `source.<variable>` → a number for each row's prompt, equal for equal prompts: its
    identity (see `das.task.identity`), or of a table that holds none, as older runs' do, a hash of the inputs' values."""
    if kept := [str(c) for c in table if str(c).startswith(PROMPT) and table[c].notna().any()]:
        return {c.removeprefix(PROMPT): table[c].to_numpy(np.int64) for c in sorted(kept)}
    columns = sorted(str(c) for c in table if str(c).startswith(("base.", "source.")) and table[c].notna().any())
    roles = dict.fromkeys(c.rpartition(".")[0] for c in columns)
    mine = {role: [c for c in columns if c.rpartition(".")[0] == role] for role in roles}
    alike = table[columns].apply(_alike)
    return {role: hash_pandas_object(alike[names], index=False).to_numpy().view(np.int64) for role, names in mine.items()}


def _alike(column: pd.Series[Any]) -> pd.Series[Any]:
    """In one type for numbers and one for texts: 3 and 3.0 are one value, however a table came to hold it."""
    column = column.infer_objects()
    return column.astype(float) if is_numeric_dtype(column) else column.astype(str).astype(object)


def part_of(table: pd.DataFrame, part: Any) -> pd.Series[bool]:
    """The rows of one split and hypothesis."""
    return (table[PART] == list(part)).all(axis=1)


def same_pairs(theirs: pd.DataFrame, mine: pd.DataFrame) -> bool:
    """Whether two tables of one hypothesis have the same prompts and answers, in the same order."""
    if len(theirs) != len(mine):
        return False
    if not any(str(c).startswith(PROMPT) for c in theirs):
        mine = mine[[c for c in mine if not str(c).startswith(PROMPT)]]
    there, here = prompt_codes(theirs), prompt_codes(mine)
    labels = ["base_answer", "source_answer", "answer", "family"]
    known = [c for c in labels if c in mine and mine[c].notna().any()]
    same = all(_alike(theirs[c]).tolist() == _alike(mine[c]).tolist() for c in known)
    return same and set(there) == set(here) and all(np.array_equal(there[role], here[role]) for role in there)
