"""Templates: the one or several of a prompt, and which of them a setting is written by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from das.causal.columns import key
from das.errors import DasError, shown, unknown
from das.task.rendered import Indices, hashed
from das.task.template import Template

Given = str | Sequence[str] | Mapping[Any, str | Sequence[str]]
"""A template; several, of which each setting gets one; or the value of a variable → its template or templates."""


@dataclass(frozen=True)
class Templates:
    """given: as in `Prompt`. by: the variable whose value says which, where `given` is a mapping."""

    given: Given
    by: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.given, Mapping) and self.given:
            if not isinstance(self.by, str):
                raise DasError("there is a template for each value of a variable: say of which one, by='<variable>'")
            for value, some in self.given.items():
                _check(some, f"the template for {shown(value)}")
            return
        _check(self.given, "the template")
        if self.by is not None:
            raise DasError(
                f"by is {shown(self.by)}, but nothing says which template goes with which value: give a mapping from values to "
                "templates"
            )

    @cached_property
    def each(self) -> list[Template]:
        """All of them, each once."""
        some = self.given.values() if isinstance(self.given, Mapping) else [self.given]
        return list(dict.fromkeys(Template(text) for texts in some for text in _listed(texts)))

    @property
    def named(self) -> list[str]:
        """The fields as the templates name them, each once."""
        return list(dict.fromkeys(name for template in self.each for name in template.named))

    def changed(self, change: Callable[[Template], str]) -> Given:
        """Every template's text changed; the choice among them stays."""

        def of(texts: str | Sequence[str]) -> str | list[str]:
            return change(Template(texts)) if isinstance(texts, str) else [change(Template(text)) for text in texts]

        return {value: of(some) for value, some in self.given.items()} if isinstance(self.given, Mapping) else of(self.given)

    def chosen(self, asked: Sequence[Any] | None, settings: Sequence[tuple[Any, ...]]) -> list[int]:
        """Which of `each` every setting is written by. Where several are left it is drawn by a hash of the setting: the same
        values always have the same template, in every process. asked: the value of `by` in each."""
        number = {template.text: i for i, template in enumerate(self.each)}
        if len(number) == 1 and asked is None:
            return [0] * len(settings)
        some = [_listed(self.given)] * len(settings) if asked is None else self._for_each(asked)  # type: ignore[arg-type]
        lots = hashed(f"template {key(row)!r}".encode() for row in settings).tolist()
        return [number[texts[lot % len(texts)]] for texts, lot in zip(some, lots, strict=True)]

    def _for_each(self, asked: Sequence[Any]) -> list[Sequence[str]]:
        """The templates for each value of `by`."""
        assert isinstance(self.given, Mapping)
        known = {key(value): _listed(some) for value, some in self.given.items()}
        for value in asked:
            if key(value) not in known:
                raise unknown(f"template: there is none where {self.by} is", value, self.given)
        return [known[key(value)] for value in asked]

    def write(self, values: Mapping[str, Sequence[Any]], which: Sequence[int]) -> tuple[list[str], dict[str, Indices]]:
        """Each row's text, written by the template of that number, and where every field lies in it, (rows, 2): −1 where its
        template has no such field. values: variable → its value in each row."""
        texts, spans = [], {name: np.full((len(which), 2), -1) for name in self.named}
        for row, number in enumerate(which):
            text, where = self.each[number].write({name: column[row] for name, column in values.items()})
            texts.append(text)
            for name, span in where.items():
                spans[name][row] = span
        return texts, spans


def _listed(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def _check(texts: Any, what: str) -> None:
    some = _listed(texts) if isinstance(texts, str | list | tuple) else []
    if not some or not all(isinstance(text, str) for text in some):
        raise DasError(f"{what} is {shown(texts)}: expected a text with {{fields}}, or a list of such")
