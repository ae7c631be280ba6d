"""Examples: the test pairs of a run, whose hits its cells keep."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from das.draw.page.packed import Blobs
from das.ground.storage import read_table, written
from das.run.folder import Folder
from das.run.words import TEXTS

ANSWERS = ("base_answer", "source_answer", "answer")


def examples(run: Folder, blobs: Blobs) -> dict[str, Any]:
    """Hypothesis → its test pairs, column by column: `roles` (`base`, `source.<variable>`), each with the inputs' values and,
    where the run kept them, the prompts' texts; the answers; the family. Empty where there are no pairs yet."""
    path = run.folder / "pairs.parquet"
    if not written(path):
        return {}
    pairs = read_table(path, filters=[("split", "==", "test")])
    texts = read_table(run.folder / TEXTS) if written(run.folder / TEXTS) else pd.DataFrame({"hypothesis": []})
    said = dict(list(texts.groupby("hypothesis")))
    return {str(name): _of(mine, said.get(name), blobs) for name, mine in pairs.groupby("hypothesis", sort=False)}


def _of(pairs: pd.DataFrame, said: pd.DataFrame | None, blobs: Blobs) -> dict[str, Any]:
    words = said if said is not None and len(said) == len(pairs) else pd.DataFrame(index=pairs.index)
    inputs = [str(c) for c in pairs if str(c).startswith(("base.", "source.")) and pairs[c].notna().any()]
    roles: dict[str, list[str]] = {}
    for column in inputs:
        roles.setdefault(column.rpartition(".")[0], []).append(column)
    return {
        "count": len(pairs),
        "roles": [
            {
                "name": role,
                "inputs": {c.rpartition(".")[2]: blobs.coded(_written(pairs[c])) for c in columns},
                "texts": blobs.texts(words[role].tolist()) if role in words else None,
            }
            for role, columns in roles.items()
        ],
        "answers": {name: blobs.coded(_written(words[name] if name in words else pairs[name])) for name in ANSWERS},
        "family": blobs.coded(_written(pairs["family"])),
    }  # fmt: skip


def _written(column: pd.Series[Any]) -> list[str]:
    """As a reader would write the values: whole numbers without a point, numbers in lists with three figures."""
    return [f"{value:g}" if isinstance(value, float) else _plain(str(value)) for value in column.tolist()]


def _plain(text: str) -> str:
    """What a table holds as JSON (see `das.run.table`), as it reads best."""
    if text[:1] not in ("[", '"'):
        return text
    try:
        value = json.loads(text, parse_float=lambda number: f"{float(number):.3g}")
    except ValueError:
        return text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")
