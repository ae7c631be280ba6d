"""Prompt: how values are written as text, and how the network answers."""

from __future__ import annotations

import re
import string
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from das.causal.columns import Column, key, same_length
from das.errors import DasError, called, shown, unknown
from das.ground.checks import fitted, number
from das.task.answers import Answers, answer_tokens
from das.task.form import Form
from das.task.marked import marks
from das.task.positions import FIELD
from das.task.rendered import Indices, Rendered
from das.task.spelling import check_known, spelled
from das.task.texts import Texts
from das.task.tokenizer import Tokenizer

CONVERSIONS: dict[str | None, Callable[[Any], Any]] = {None: lambda value: value, "r": repr, "s": str, "a": ascii}
"""`{field!r}` and the like, as in `str.format`."""


def literal(text: str) -> str:
    """A text as a template holds it: braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True)
class Prompt(Form):
    """How a setting of the inputs is written, and how the network answers.

    template: text with `{field}` or `{field:.2f}` for variables of the causal model, as in `str.format`; of a variable that
        holds several values, `{pair[0]}` writes one.
    answers: output value → the text that follows the prompt, or a function from one to the other. The text is taken as
        it stands: where a space separates it from the prompt, it begins with the space. A list of texts: each of them is the
        answer (its forms), the first the one that is written where one must be.
    fillers: field of the template that is no variable → texts of which each prompt gets one, by a hash of its other fields: the
        same setting is always the same prompt.
    first_token: whether the first token of an answer is all that is read of it.
    tolerance: for answers that are numbers: an answer is right, too, where it is another output's whose number differs by no
        more than this.
    """

    template: str
    answers: Mapping[Any, str | Sequence[str]] | Callable[[Any], str | Sequence[str]]
    fillers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    first_token: bool = False
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.template, str):
            raise DasError(f"the template is {shown(self.template)}: expected a text with {{fields}}")
        if not callable(self.answers) and not isinstance(self.answers, Mapping):
            raise DasError(f"answers are {shown(self.answers)}: expected a mapping from output value to text, or a function")
        for value, said in self.answers.items() if isinstance(self.answers, Mapping) else ():
            _texts_of(value, said)
        fitted("first_token of a prompt", self.first_token, bool)
        if self.tolerance is not None:
            number("tolerance of a prompt", self.tolerance, 0)
        if not isinstance(self.fillers, Mapping):
            raise DasError(f"fillers are {shown(self.fillers)}: expected a mapping from field to texts")
        for name, texts in self.fillers.items():
            if (
                isinstance(texts, str)
                or not isinstance(texts, Sequence)
                or not texts
                or any(not isinstance(t, str) for t in texts)
            ):
                raise DasError(f"the fillers of {name!r} are {shown(texts)}: expected a list of texts, at least one")

    @cached_property
    def _pieces(self) -> list[tuple[str, str | None, str, str | None]]:
        try:
            pieces = [(text, name, spec or "", conv) for text, name, spec, conv in string.Formatter().parse(self.template)]
        except ValueError as error:
            raise DasError(f"the template cannot be read ({error}): write a literal brace as {{{{ or }}}}") from error
        for _, name, spec, conversion in pieces:
            if name is not None and not (FIELD.fullmatch(name) and _variable(name).isidentifier()):
                raise DasError(f"field {{{name}}} of the template has no name: give each field the name of a variable")
            if name is not None and ("{" in spec or conversion not in CONVERSIONS):
                raise DasError(f"field {{{name}}} of the template has a format that is not plain, such as {{{name}:.2f}}")
            if name in ("first", "last"):
                raise DasError(f"a field cannot be called {name!r}, which is a position: give the variable another name")
        return pieces

    @property
    def fields(self) -> list[str]:
        """The names of the variables in the template, in order, each once."""
        return list(dict.fromkeys(_variable(name) for name in self._named if name not in self.fillers))

    @property
    def written(self) -> str:
        return self.template

    def parts(self) -> dict[str, list[Any]]:
        said = self.answers if callable(self.answers) else sorted((repr(key), text) for key, text in self.answers.items())
        reading = (self.first_token, self.tolerance)
        read = [] if reading == (False, None) else [reading]
        return {"prompt's words": [self.template, sorted(self.fillers.items())], "answers' words": [said, *read]}

    @property
    def _named(self) -> list[str]:
        """The fields as the template names them, fillers too, each once."""
        return list(dict.fromkeys(name for _, name, _, _ in self._pieces if name is not None))

    @property
    def around(self) -> tuple[str, str]:
        """The template's text before its first field and behind its last one, as the template holds it."""
        named = [i for i, (_, name, _, _) in enumerate(self._pieces) if name is not None]
        texts = [literal(text) for text, *_ in self._pieces]
        return ("".join(texts[: named[0] + 1]), "".join(texts[named[-1] + 1 :])) if named else (self.template, self.template)

    def render(self, columns: Mapping[str, Column]) -> Texts:
        """One text per row. A field that occurs twice has the span of its first occurrence."""
        for name in self.fields:
            if name not in columns:
                raise unknown("field of the template", name, columns)
        values = {name: columns[name].tolist() for name in self.fields}
        n = same_length({name: columns[name] for name in self.fields}) if values else same_length(columns)
        settings = [repr(row) for row in zip(*values.values(), strict=True)] if values else [""] * n
        values |= {name: [_one_of(texts, name + row) for row in settings] for name, texts in self.fillers.items()}
        spans = {name: np.zeros((n, 2), np.int64) for name in self._named}
        texts = [self._write({name: column[row] for name, column in values.items()}, row, spans) for row in range(n)]
        return Texts(texts, *marks(texts, spans, values))

    def _write(self, values: Mapping[str, Any], row: int, spans: Mapping[str, Indices]) -> str:
        text = ""
        for literal, name, spec, conversion in self._pieces:
            text += literal
            if name is None:
                continue
            value = CONVERSIONS[conversion](_part(values[_variable(name)], name))
            fit = "a value that the format can write"
            written = called(f"field {{{name}:{spec}}} cannot write {shown(value)}: it", fit, format, value, spec)
            if not spans[name][row, 1]:
                spans[name][row] = len(text), len(text) + len(written)
            text += written
        return text

    def answer(self, value: Any) -> str:
        """The text that answers `value`, an output of the causal model; of several forms the first."""
        return self.forms(value)[0]

    def forms(self, value: Any) -> tuple[str, ...]:
        """All texts that answer `value`."""
        if callable(self.answers):
            said = called(
                "the answer function", "the text that answers the value", self.answers, value, on=f" on {shown(value)}"
            )
            return _texts_of(value, said)
        texts = {key(known): text for known, text in self.answers.items()}
        if key(value) not in texts:
            raise unknown("answer: the output value has no text,", value, self.answers)
        return _texts_of(value, texts[key(value)])

    def answer_texts(self, outputs: Column) -> list[str]:
        """The answer's text for each row of the output column; of several forms the first."""
        return [forms[0] for forms in self.answer_forms(outputs)]

    def answer_forms(self, outputs: Column) -> list[tuple[str, ...]]:
        """All texts that answer each row of the output column."""
        known: dict[Any, tuple[str, ...]] = {}
        values = outputs.tolist()
        marks = [(repr(type(value)), key(value)) for value in values]  # a function may write True otherwise than 1
        return [known[m] if m in known else known.setdefault(m, self.forms(v)) for m, v in zip(marks, values, strict=True)]

    def with_answers(self, change: Callable[[str], str]) -> Prompt:
        """The same prompt with every answer's text changed."""
        if callable(self.answers):
            return replace(self, answers=lambda value: [change(text) for text in self.forms(value)])
        changed = {v: change(said) if isinstance(said, str) else [*map(change, said)] for v, said in self.answers.items()}
        return replace(self, answers=changed)

    def read(self, rendered: Rendered, outputs: Column, tokenizer: Tokenizer) -> Any:
        return tokenizer([*rendered.names, *self.answer_texts(outputs)])["input_ids"]

    def answer_tokens(self, outputs: Column, one: Rendered, tokenizer: Tokenizer) -> Indices:
        return answer_tokens(tokenizer, one.names[0], self.answer_texts(outputs))

    def check_answers(self, outputs: Column, one: Rendered, tokenizer: Tokenizer) -> None:
        _check_written(outputs, self.answer_texts(outputs))
        check_known(self.answer_forms(outputs), one.names[0], tokenizer, self.first_token)
        self.spelled(outputs, one, tokenizer, lambda: outputs)

    def spelled(
        self, outputs: Column, one: Rendered, tokenizer: Tokenizer, known: Callable[[], Column]
    ) -> tuple[Answers, Indices]:
        plain = self.first_token and self.tolerance is None
        further = [] if plain else self.answer_forms(known())
        return spelled(self.answer_forms(outputs), one.names[0], tokenizer, self.first_token, self.tolerance, further)


def _check_written(outputs: Column, texts: Sequence[str]) -> None:
    """DasError where values that are equal, such as 1 and True, are written differently."""
    written: dict[Any, tuple[Any, str]] = {}
    for value, text in zip(outputs.tolist(), texts, strict=True):
        other, known = written.setdefault(key(value), (value, text))
        if known != text:
            raise DasError(
                f"the outputs {other!r} and {value!r} are one value to a causal model, but their answers are {known!r} and "
                f"{text!r}: let every mechanism give one type"
            )


def _texts_of(value: Any, said: Any) -> tuple[str, ...]:
    """The texts that answer a value; DasError where there are none."""
    texts = tuple(said) if isinstance(said, list | tuple) else (said,)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DasError(
            f"the answer to {shown(value)} is {shown(said)}: expected a text, or a list of them; in YAML put it in quotes"
        )
    return texts


def _one_of(texts: Sequence[str], setting: str) -> str:
    return texts[zlib.crc32(setting.encode()) % len(texts)]


def _variable(name: str) -> str:
    return name.partition("[")[0]


def _part(value: Any, name: str) -> Any:
    """What of a variable's value a field writes."""
    try:
        for index in re.findall(r"\[([^\]]+)\]", name):
            value = value[int(index) if index.isdigit() else index]
    except (LookupError, TypeError) as error:
        raise DasError(f"field {{{name}}}: {value!r} has no {index!r}") from error
    return value
