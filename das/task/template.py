"""Template: the words of a prompt with fields in them."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from das.errors import DasError, called, shown
from das.task.positions import FIELD

CONVERSIONS: dict[str | None, Callable[[Any], Any]] = {None: lambda value: value, "r": repr, "s": str, "a": ascii}
"""`{field!r}` and the like, as in `str.format`."""

Span = tuple[int, int]


def literal(text: str) -> str:
    """A text as a template holds it: braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True)
class Template:
    """A text with `{field}` or `{field:.2f}` for variables, as in `str.format`; `{pair[0]}` writes one of several values."""

    text: str

    @cached_property
    def _pieces(self) -> list[tuple[str, str | None, str, str | None]]:
        try:
            pieces = [(text, name, spec or "", conv) for text, name, spec, conv in string.Formatter().parse(self.text)]
        except ValueError as error:
            raise DasError(f"the template cannot be read ({error}): write a literal brace as {{{{ or }}}}") from error
        for _, name, spec, conversion in pieces:
            if name is not None and not (FIELD.fullmatch(name) and variable(name).isidentifier()):
                raise DasError(f"field {{{name}}} of the template has no name: give each field the name of a variable")
            if name is not None and ("{" in spec or conversion not in CONVERSIONS):
                raise DasError(f"field {{{name}}} of the template has a format that is not plain, such as {{{name}:.2f}}")
            if name in ("first", "last"):
                raise DasError(f"a field cannot be called {name!r}, which is a position: give the variable another name")
        return pieces

    @property
    def named(self) -> list[str]:
        """The fields as they are written, each once."""
        return list(dict.fromkeys(name for _, name, _, _ in self._pieces if name is not None))

    @property
    def around(self) -> tuple[str, str]:
        """The text before the first field and behind the last one, as the template holds it."""
        named = [i for i, (_, name, _, _) in enumerate(self._pieces) if name is not None]
        texts = [literal(text) for text, *_ in self._pieces]
        return ("".join(texts[: named[0] + 1]), "".join(texts[named[-1] + 1 :])) if named else (self.text, self.text)

    def write(self, values: Mapping[str, Any]) -> tuple[str, dict[str, Span]]:
        """The text for the values of variables, and where each field lies in it; of one that occurs twice, where it first
        does."""
        text, spans = "", dict[str, Span]()
        for literal, name, spec, conversion in self._pieces:
            text += literal
            if name is None:
                continue
            written = _written(values[variable(name)], name, spec, conversion)
            spans.setdefault(name, (len(text), len(text) + len(written)))
            text += written
        return text, spans


def variable(name: str) -> str:
    """The variable that a field writes, or a part of it."""
    return name.partition("[")[0]


def _written(value: Any, name: str, spec: str, conversion: str | None) -> str:
    value = _part(value, name)
    if isinstance(value, set | frozenset):
        raise DasError(
            f"field {{{name}}} writes a set, {shown(value)}, whose order is another in every process: "
            "write what is computed from it, such as ' '.join(sorted(…))"
        )
    fit = "a value that the format can write"
    text: str = called(
        lambda: f"field {{{name}:{spec}}} cannot write {shown(value)}: it", fit, format, CONVERSIONS[conversion](value), spec
    )
    return text


def _part(value: Any, name: str) -> Any:
    """What of a variable's value a field writes."""
    if "[" not in name:
        return value
    try:
        for index in re.findall(r"\[([^\]]+)\]", name):
            value = value[int(index) if index.isdigit() else index]
    except (LookupError, TypeError) as error:
        raise DasError(f"field {{{name}}}: {value!r} has no {index!r}") from error
    return value
