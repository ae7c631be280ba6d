"""Typed: prompts and places of a swap as they are written on a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from das.errors import shown
from das.ground.plain import parse
from das.task.pointing import Pointer, Substring, names_position
from das.use.own_pairs import At

NUMBER = re.compile(r"[+-]?\d+")
"""That of a token."""


def prompt(given: Any) -> Any:
    """A text; or values of a task's inputs, as YAML in braces."""
    yaml = isinstance(given, str) and given.lstrip().startswith("{")
    return parse(given, f"the prompt {shown(given)}") if yaml else given


def pointers(text: str | None, token: str = "all", occurrence: int | None = None) -> At:
    """Where a swap lies, or as YAML in braces where each of its positions does."""
    given = prompt(text)
    if not isinstance(given, Mapping):
        return pointer(text, token, occurrence)
    return {name: pointer(_typed(where), token, occurrence) for name, where in given.items()}


def _typed(where: Any) -> str | None:
    """One of them as it would be typed alone: what is a text to YAML and reads as a number was in quotes."""
    quoted = isinstance(where, str) and NUMBER.fullmatch(where)
    return None if where is None else f'"{where}"' if quoted else str(where)


def pointer(text: str | None, token: str = "all", occurrence: int | None = None) -> Pointer | None:
    """The number of a token, the name of a position, or a piece of the text, in quotes or not."""
    if text is None or NUMBER.fullmatch(text):
        return None if text is None else int(text)
    quoted = re.fullmatch(r'"(.+)"', text, re.DOTALL)
    if quoted is None and (names_position(text, {}) or (token, occurrence) == ("all", None)):
        return text
    return Substring(quoted[1] if quoted else text, token, occurrence)
