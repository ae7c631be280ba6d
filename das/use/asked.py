"""Asked: what a user gives as base or source, a text or values of the task's inputs, as prompts with the place of a swap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from das.causal.columns import Columns, as_column, concat, row_of, same_length, take
from das.errors import DasError, called, shown
from das.task.pointing import Pointer, encode_at, names_position
from das.task.rendered import Prompts, Rendered
from das.task.task import Task
from das.task.texts import Texts
from das.task.tokenizer import Tokenizer


@dataclass(frozen=True)
class Asked:
    """Prompts, and the values of the task's inputs that they were written from; None where they were given as texts."""

    rendered: Rendered
    values: Columns | None = None

    def __len__(self) -> int:
        return len(self.rendered.names)

    @property
    def names(self) -> list[str]:
        """Each in words: its text, or of what is no text its values."""
        if isinstance(self.rendered, Texts) or self.values is None:
            return self.rendered.names
        return [_in_words(row_of(self.values, row)) for row in range(len(self))]

    def encoded(self, tokenizer: Tokenizer, positions: Sequence[str] = ()) -> Prompts:
        """As tokens, with named positions. DasError where the tokenizer knows no token for some of a text."""
        self.check_read(tokenizer)
        return self.rendered.encode(tokenizer, positions)

    def check_read(self, tokenizer: Tokenizer) -> None:
        """DasError where the tokenizer knows no token for some of a text."""
        if isinstance(self.rendered, Texts):
            self.rendered.check_read(tokenizer)

    def spread(self, rows: int, what: str) -> Asked:
        """The same, or one prompt so many times. DasError where there are others, and not so many."""
        if len(self) == rows:
            return self
        if len(self) > 1:
            raise DasError(f"there are {len(self)} prompts as {what} and {rows} beside them: give one, or equally many")
        index = np.zeros(rows, np.int64)
        return Asked(self.rendered.take(index), None if self.values is None else take(self.values, index))


def asked(given: Any, task: Task | None, what: str, like: Columns | None = None) -> Asked:
    """Prompts from a text, texts, values of one setting or columns of many (or a list of settings).

    like: the base's values, which stand for what a source's leave out. what: what this is called in an error.
    """
    several: Any = [given] if isinstance(given, str | Mapping) else given
    if not isinstance(several, Sequence) or not several or not all(isinstance(each, str | Mapping) for each in several):
        raise DasError(f"{what} is {shown(given)}: expected a text, a mapping from inputs to values, or a list of one of these")
    if all(isinstance(each, str) for each in several):
        if not all(text.strip() for text in several):
            raise DasError(f"{what} is an empty text: expected a prompt")
        return Asked(Texts(list(several), {}))
    if not all(isinstance(each, Mapping) for each in several):
        raise DasError(f"{what} holds texts and mappings: expected one kind")
    if task is None:
        raise DasError(f"{what} is given as values and there is no task to write them: give task=, or the text itself")
    one = {name: column.shape[1:] for name, column in task.model.sample(np.random.default_rng(0), 1).items()}
    values = concat([_filled(_columns(each, what, one), like) for each in several])
    values = task.model.inputs.validate(values)
    return Asked(task.render(values), values)


def _columns(setting: Mapping[str, Any], what: str, shapes: Mapping[str, tuple[int, ...]]) -> Columns:
    """Columns of many settings where every value is a list or an array of values; else of one. shapes: input → of one value,
    () but for vectors and their like."""
    given = {name: _array(value, f"{what}: input {name!r}", shapes.get(name, ())) for name, value in setting.items()}
    many = [isinstance(value, list) or getattr(value, "ndim", 0) > len(shapes.get(name, ())) for name, value in given.items()]
    if any(many) and not all(many):
        raise DasError(f"{what} holds single values and columns: expected one setting, or a column for every input")
    columns = {name: as_column(value if all(many) else [value], f"input {name!r}") for name, value in given.items()}
    same_length(columns)
    return columns


def _array(value: Any, what: str, shape: tuple[int, ...]) -> Any:
    """A vector, or a column of such, as an array; other values as they are."""
    if not shape:
        return value
    found = called(what, f"a vector of shape {shape}, or a list of such", np.asarray, value)
    if found.shape[-len(shape) :] != shape or found.ndim > len(shape) + 1 or found.dtype.kind not in "biuf":
        raise DasError(f"{what} is {shown(value)}: expected a vector of shape {shape}, or a list of such")
    return found


def _in_words(setting: Mapping[str, Any]) -> str:
    def short(value: Any) -> str:
        listed = f"[{', '.join(map(short, value))}]" if isinstance(value, list) else None
        return listed or (f"{value:.4g}" if isinstance(value, float) else str(value))

    return ", ".join(f"{name}: {short(value)}" for name, value in setting.items())


def _filled(columns: Columns, like: Columns | None) -> Columns:
    """A source's values, and the base's where it has none."""
    if like is None or not set(like) - set(columns):
        return columns
    rows = max(same_length(columns), same_length(like))
    wide = {name: column if len(column) == rows else np.repeat(column, rows, 0) for name, column in (like | columns).items()}
    same_length(wide)
    return wide


def placed(
    prompts: Asked, tokenizer: Tokenizer, position: str, pointer: Pointer | list[Pointer] | None, task: Task | None
) -> Prompts:
    """The prompts as tokens, with the place of the swap under the name of the alignment's own position. pointer: where that is
    (see `das.task.pointing`); by default at the position itself, which of texts must be an end of the prompt."""
    if not isinstance(prompts.rendered, Texts):
        if pointer is not None:
            raise DasError("a place was given, and this task puts no texts: the swap lies where the alignment was found")
        return prompts.rendered.encode(tokenizer, [position])
    if tokenizer is None:
        raise DasError("this network has no tokenizer to read prompts with: make it das.LM(model, tokenizer)")
    if pointer is not None:
        prompts.check_read(tokenizer)
        for each in pointer if isinstance(pointer, list) else [pointer]:
            _check_no_field(prompts, each, task)
        return encode_at(prompts.rendered, tokenizer, position, pointer)
    if prompts.values is None and not names_position(position, {}):
        raise DasError(
            f"the alignment lies at {position}, a place in the task's prompt: of a text of your own say where that is, "
            "position (--position on a command line): the number of a token, from the end with -1, or a piece of the text"
        )
    return prompts.encoded(tokenizer, [position])


def _check_no_field(prompts: Asked, pointer: Pointer, task: Task | None) -> None:
    """DasError where the name of one of the task's positions points into a text, whose fields nobody knows."""
    if isinstance(pointer, tuple):
        for each in pointer:
            _check_no_field(prompts, each, task)
    if not isinstance(pointer, str) or prompts.values is not None or task is None:
        return
    known = dict.fromkeys([*task.prompt.fields, *task.prompt.positions])
    if not names_position(pointer, {}) and names_position(pointer, known):
        raise DasError(
            f"position {pointer!r} is a place in the task's prompt, and this is a text: give the values of its inputs, the "
            f"number of a token, or Substring({pointer!r}) for these very characters"
        )
