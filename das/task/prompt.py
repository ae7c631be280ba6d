"""Prompt: how values are written as text, and how the network answers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from das.causal.columns import Column, key, same_length
from das.causal.predicates import parameters
from das.errors import DasError, called, shown, unknown
from das.ground.checks import fitted, number
from das.task.answers import Answers, answer_tokens
from das.task.form import Form
from das.task.marked import marks
from das.task.rendered import Indices, Rendered
from das.task.rowwise import Rowwise, check_functions, computed, rows_of, taken_by
from das.task.spelling import check_alike, check_known, spelled
from das.task.template import Template, variable
from das.task.templates import Given, Templates
from das.task.texts import Texts
from das.task.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prompt(Form):
    """How a setting of the inputs is written, and how the network answers.

    template: text with `{field}` or `{field:.2f}` for variables of the causal model, as in `str.format`; of a variable that
        holds several values, `{pair[0]}` writes one. A list of templates: each setting is written by one of them, always the
        same one, drawn by a hash of its values. A mapping: the value of the variable `by` → its template, or a list of them.
    answers: output value → the text that follows the prompt, or a function from one to the other. The text is taken as
        it stands: where a space separates it from the prompt, it begins with the space. A list of texts: each of them is the
        answer (its forms), the first the one that is written where one must be.
    fillers: field of the template that is no variable → texts of which each prompt gets one, by a hash of its other fields: the
        same setting is always the same prompt.
    first_token: whether the first token of an answer is all that is read of it.
    tolerance: for answers that are numbers: an answer is right, too, where it is another output's whose number differs by no
        more than this.
    by: the variable, or the computed field, whose value chooses the template.
    computed: field that is no variable → a function of variables, by parameter name, that gives its value; it is given the
        values of one prompt.
    positions: name → a function likewise, that names the field at which this position lies: `lambda right: f"option{right}"`.
    """

    template: Given
    answers: Mapping[Any, str | Sequence[str]] | Callable[[Any], str | Sequence[str]]
    fillers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    first_token: bool = False
    tolerance: float | None = None
    by: str | None = None
    computed: Mapping[str, Rowwise] = field(default_factory=dict)
    positions: Mapping[str, Rowwise] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.templates  # noqa: B018  (wrong ones are reported here)
        if not callable(self.answers) and not isinstance(self.answers, Mapping):
            raise DasError(
                f"answers are {shown(self.answers)}: expected a mapping from output value to text, or a "
                "function, such as ' {}'.format"
            )
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
        check_functions("computed field", self.computed, [*self.fillers])
        check_functions("position", self.positions, self.templates.named if self.positions else ())

    @cached_property
    def templates(self) -> Templates:
        """The template or templates, and which a setting is written by."""
        return Templates(self.template, self.by)

    @property
    def ways(self) -> int:
        return len(self.templates.each)

    @property
    def _used(self) -> list[str]:
        """What the templates write, or are chosen by: variables and computed fields."""
        named = [variable(name) for name in self.templates.named if name not in self.fillers]
        return named if self.by is None else [*named, self.by]

    @property
    def fields(self) -> list[str]:
        """The variables that are written, or from which what is written is computed or chosen, each once."""
        return self.behind(self._used)

    @property
    def needed(self) -> list[str]:
        return self.behind([*self._used, *taken_by(self.positions)])

    def behind(self, names: Sequence[str]) -> list[str]:
        """Of fields: variables for variables, and for computed fields those that they take, each once."""
        taken = [parameters(self.computed[name]) if name in self.computed else [name] for name in names]
        return list(dict.fromkeys(name for some in taken for name in some))

    @property
    def written(self) -> str:
        return "\n\n".join(template.text for template in self.templates.each)

    def parts(self) -> dict[str, list[Any]]:
        said = self.answers if callable(self.answers) else sorted((repr(key), text) for key, text in self.answers.items())
        reading = (self.first_token, self.tolerance)
        read = [] if reading == (False, None) else [reading]
        given = sorted((repr(k), v) for k, v in self.template.items()) if isinstance(self.template, Mapping) else self.template
        by = [] if self.by is None else [self.by]
        functions = [part for some in (self.computed, self.positions) for each in sorted(some.items()) for part in each]
        return {"prompt's words": [given, sorted(self.fillers.items()), *by, *functions], "answers' words": [said, *read]}

    def reworded(self, change: Callable[[Template], str]) -> Prompt:
        """The same prompt with the text of every template changed."""
        return replace(self, template=self.templates.changed(change))

    def render(self, columns: Mapping[str, Column]) -> Texts:
        """One text per row. A field that occurs twice has the span of its first occurrence; one that is not in a row's template
        has none there."""
        values, n = self._values(columns)
        shown = {name: values[name] for name in self.fields}
        which = self.templates.chosen(values[self.by] if self.by else None, rows_of(shown, n, sorted(shown)))
        values |= self._filled([repr(row) for row in rows_of(shown, n)] if shown else [""] * n)
        texts, spans = self.templates.write(values, which)
        spans |= {name: self._placed(name, spans, values, n) for name in self.positions}
        return Texts(texts, *marks(texts, spans, values), which)

    def _values(self, columns: Mapping[str, Column]) -> tuple[dict[str, list[Any]], int]:
        """The values of all variables that are needed, and of computed fields, by row; and how many rows there are."""
        for name in self.needed:
            if name not in columns:
                raise unknown("field of the template", name, columns)
        for name in self.computed:
            if name in columns:
                raise DasError(f"computed field {name!r} is a variable of the causal model, too: give it another name")
        n = same_length({name: columns[name] for name in self.needed} or columns)
        values = {name: columns[name].tolist() for name in self.needed}
        used = [name for name in self.computed if name in {*self._used, *taken_by(self.positions)}]
        return values | {name: computed(f"field {name!r}", self.computed[name], values, n) for name in used}, n

    def _filled(self, settings: Sequence[str]) -> dict[str, list[str]]:
        return {name: [_one_of(texts, name + row) for row in settings] for name, texts in self.fillers.items()}

    def _placed(self, name: str, spans: Mapping[str, Indices], values: Mapping[str, Sequence[Any]], n: int) -> Indices:
        """The characters of a position that is said by a function, in each of n rows. (n, 2)"""
        fields = computed(f"position {name!r}", self.positions[name], values, n)
        if wrong := [field for field in fields if not isinstance(field, str) or field not in spans]:
            raise unknown(f"field at which position {name!r} lies:", wrong[0], spans)
        return np.array([spans[field][row] for row, field in enumerate(fields)], np.int64).reshape(n, 2)

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
        check_alike(self.answer_forms(outputs), [one.names[row] for row in one.ways], tokenizer, self.first_token)
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
