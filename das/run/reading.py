"""Reading: prompts that a network is made to read, from a file of text, a folder of them, or a task, batch by batch.

Batches go by their numbers: the same number is always the same batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from das.errors import DasError, one_line
from das.ground.rows import is_table
from das.task.encoded import Encoded
from das.task.files import load_task
from das.task.prompt import Prompt
from das.task.rendered import Prompts
from das.task.task import Task
from das.task.tokenizer import Tokenizer
from das.task.variant import BASE

AT_ONCE = 2048
"""Tokens of a batch, about."""

PIECE = 20_000
"""Characters that are tokenized together."""

HELD = 0.1
"""The share of the batches of a text that is held out."""

HELD_DRAWS = 8
"""Batches of a task's prompts that are held out."""

TEXTS = ".txt", ".md"
"""How names of the files of a folder end that are read."""


class Reading(Protocol):
    """name: of what is read. tokens: of a batch, about. batches, held: how many batches there are to train on, and how many are
    held out.
    """

    @property
    def name(self) -> str: ...

    @property
    def tokens(self) -> int: ...

    @property
    def batches(self) -> int: ...

    @property
    def held(self) -> int: ...

    def at(self, i: int) -> Prompts:
        """A batch to train on."""

    def held_at(self, i: int) -> Prompts:
        """One that is held out."""


def reading(source: str | Path | Task, tokenizer: Tokenizer, tokens: int, context: int, seed: int) -> Reading:
    """Of a file or folder of text, or a task. tokens: how many to train on, or all that there are. context: tokens of a text
    that are read together. DasError where there is nothing to read."""
    path = Path(source) if isinstance(source, str | Path) else None
    if path is not None and (path.is_dir() or (path.is_file() and path.suffix != ".py" and not is_table(path))):
        return Written.of(path, tokenizer, tokens, context, seed)
    return Drawn.of(load_task(source), tokenizer, tokens, seed)


@dataclass(frozen=True)
class Written:
    """Stretches of a text, of equally many tokens. ids: (stretches, tokens), with what the tokenizer puts around every text;
    around: how many tokens it puts before and behind."""

    name: str
    ids: NDArray[np.int64]
    around: tuple[int, int]
    held: int

    @classmethod
    def of(cls, path: Path, tokenizer: Tokenizer, tokens: int, context: int, seed: int) -> Written:
        """The stretches of files in random order; pieces are tokenized until there are enough."""
        before, behind = _around(tokenizer)
        own, rows = context - len(before) - len(behind), list[NDArray[np.int64]]()
        if own < 1:
            raise DasError(f"context is {context}, and the tokenizer puts {len(before) + len(behind)} tokens around a text")
        pieces = _pieces(path)
        per_batch = max(1, AT_ONCE // context)
        wanted = int(np.ceil(tokens / own * (1 + 2 * HELD))) + 2 * per_batch
        for i in np.random.default_rng(seed).permutation(len(pieces)):
            found = np.array(tokenizer(pieces[i], add_special_tokens=False, verbose=False)["input_ids"], np.int64)
            rows += [part for part in np.split(found, range(own, len(found), own)) if len(part) == own]
            if len(rows) >= wanted:
                break
        if len(rows) < 2 * per_batch:
            raise DasError(
                f"{path} has {len(rows) * own} tokens in stretches of {own}: expected at least {2 * per_batch * own}, better "
                "100,000 and more; give a longer text, or a smaller context"
            )
        order = np.random.default_rng([seed, 1]).permutation(len(rows))
        ids = np.stack([np.concatenate([before, rows[i], behind]) for i in order])
        ids = ids[: len(ids) // per_batch * per_batch]
        return cls(path.name, ids, (len(before), len(behind)), max(1, int(HELD * len(ids) / per_batch)))

    @property
    def _rows(self) -> int:
        return max(1, AT_ONCE // int(self.ids.shape[1]))

    @property
    def tokens(self) -> int:
        return self._rows * (int(self.ids.shape[1]) - sum(self.around))

    @property
    def batches(self) -> int:
        return len(self.ids) // self._rows - self.held

    def at(self, i: int) -> Encoded:
        return self.held_at(self.held + i)

    def held_at(self, i: int) -> Encoded:
        ids = self.ids[i * self._rows : (i + 1) * self._rows]
        return Encoded(ids, np.full(len(ids), ids.shape[1]))


def _around(tokenizer: Tokenizer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a tokenizer puts before and behind every text."""
    whole: Any = list(tokenizer("a")["input_ids"])
    bare: Any = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    at = next((i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare), 0)
    return np.array(whole[:at], np.int64), np.array(whole[at + len(bare) :], np.int64)


def _pieces(path: Path) -> list[str]:
    """The texts of files, cut at ends of lines into pieces that can be tokenized one by one."""
    files = sorted(p for p in path.rglob("*") if p.suffix in TEXTS and p.is_file()) if path.is_dir() else [path]
    if not files:
        raise DasError(f"{path} has no files that end in {' or '.join(TEXTS)}")
    return [piece for file in files for piece in _cut(_text_of(file))]


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise DasError(f"{path} cannot be read as text in UTF-8 ({one_line(error)[:120]})") from error


def _cut(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", min(len(text), start + PIECE))
        end = len(text) if end < 0 else end + 1
        yield text[start:end]
        start = end


@dataclass(frozen=True)
class Drawn:
    """Prompts of a task, drawn anew for every batch."""

    task: Task
    tokenizer: Tokenizer
    rows: int
    tokens: int
    batches: int
    seed: int
    held: int = HELD_DRAWS

    @classmethod
    def of(cls, task: Task, tokenizer: Tokenizer, tokens: int, seed: int) -> Drawn:
        """As many as have so many tokens. DasError where they are no words."""
        if not isinstance(task.prompt, Prompt):
            raise DasError(
                f"{task.name} is put as tensors, and what is read are words: give a text, or a task with a das.Prompt"
            )
        length = float(task.encode(task.some(64), tokenizer).lengths.mean())
        rows = max(1, int(AT_ONCE / length))
        each = max(1, int(rows * length))
        return cls(task, tokenizer, rows, each, max(1, -(-tokens // each)), seed)

    @property
    def name(self) -> str:
        return self.task.name

    def at(self, i: int) -> Prompts:
        return self._draw([self.seed, 0, i])

    def held_at(self, i: int) -> Prompts:
        return self._draw([self.seed, 1, i])

    def _draw(self, seed: Sequence[int]) -> Prompts:
        inputs = self.task.variant(BASE).inputs.sample(np.random.default_rng(seed), self.rows)
        return self.task.encode(inputs, self.tokenizer)
