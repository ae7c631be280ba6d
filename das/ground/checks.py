"""Checks: what was given against what was expected. Types, bounds, names and folders are checked here and nowhere else."""

from __future__ import annotations

import math
import os
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from das.errors import DasError, shown, unknown

NAME_BYTES = 60
"""Of a name, which becomes part of a file's."""

PATH_BYTES = 4000

WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"), int: ("a whole number", "whole numbers"), float: ("a number", "numbers"),
    str: ("a text", "texts"), type(None): ("nothing", "nothing"), Any: ("anything", "values"),
}  # fmt: skip
"""What a type is called: one of it, several."""


def check_known(cls: type[Any], given: Iterable[Any], what: str, also: Sequence[str] = ()) -> None:
    """DasError on a name that is no field of a dataclass, nor of `also`; it names the nearest one. what: kind of name."""
    known = [f.name for f in fields(cls)] + list(also)
    for name in given:
        if name not in known:
            raise unknown(what, name, known)


# --- types ---


def fitted(name: str, given: Any, hint: Any) -> Any:
    """A value as its type hint has it: numpy's numbers become Python's, tuples, ranges and arrays lists, paths texts.

    DasError where it does not fit; a text is no number, and true is none either.
    """
    try:
        return _fit(given, hint)
    except _Unfit as error:
        raise DasError(f"{name} is {shown(given)}: expected {wanted(hint)}") from error


class _Unfit(Exception):
    pass


def _fit(given: Any, hint: Any) -> Any:
    if hint is Any:
        return given
    if isinstance(hint, types.UnionType) or get_origin(hint) is Union:
        return _fit_one(given, get_args(hint))
    if (origin := get_origin(hint)) is not None:
        return (_fit_list if origin is list else _fit_mapping)(given, *get_args(hint))
    return _fit_plain(given, hint)


def _fit_one(given: Any, hints: Sequence[Any]) -> Any:
    for hint in hints:
        try:
            return _fit(given, hint)
        except _Unfit:
            continue
    raise _Unfit


def _fit_list(given: Any, hint: Any) -> list[Any]:
    if isinstance(given, str | Path | int | float) and not isinstance(given, bool):
        given = [given]  # one stands for a list of one: --positions last
    if not isinstance(given, list | tuple | range) and not hasattr(given, "__array__"):
        raise _Unfit
    return [_fit(each, hint) for each in (given.tolist() if hasattr(given, "tolist") else given)]


def _fit_mapping(given: Any, key: Any, value: Any) -> dict[Any, Any]:
    if not isinstance(given, Mapping):
        raise _Unfit
    return {_fit(k, key): _fit(v, value) for k, v in given.items()}


def _fit_plain(given: Any, hint: type[Any]) -> Any:
    if type(given).__module__ == "numpy" and hasattr(given, "item") and not getattr(given, "ndim", 0):
        given = given.item()
    if hint is str and isinstance(given, Path):
        return str(given)
    if hint is float and isinstance(given, int) and not isinstance(given, bool) and abs(given) < 2**1000:
        return float(given)
    if not isinstance(given, hint) or (isinstance(given, bool) and hint is not bool):
        raise _Unfit
    return given


def wanted(hint: Any, several: bool = False) -> str:
    """A type hint in words."""
    if isinstance(hint, types.UnionType) or get_origin(hint) is Union:
        return " or ".join(wanted(one, several) for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is list:
        return f"a list of {wanted(get_args(hint)[0], True)}"
    if get_origin(hint) is dict:
        key, value = get_args(hint)
        return f"a mapping from {wanted(key, True)} to {wanted(value, True)}"
    return WORDS[hint][several] if hint in WORDS else hint.__name__


# --- bounds ---


def whole(name: str, given: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    number: int = fitted(name, given, int)
    if not low <= number <= high:
        raise DasError(f"{name} is {shown(number)}: expected {_bounds(low, high, number)}")
    return number


def _bounds(low: float, high: float, number: float) -> str:
    return f"at least {low:,}" if number < low else f"at most {high:,}"


def number(name: str, given: Any, low: float = -math.inf, high: float = math.inf, above: bool = False) -> float:
    """A finite number from `low` (`above`: more than it) to `high`."""
    found: float = fitted(name, given, float)
    if not math.isfinite(found):
        raise DasError(f"{name} is {found}: expected a finite number")
    if not low <= found <= high or (above and found == low):
        bounds = f"more than {low:g}" if above and found <= low else _bounds(low, high, found)
        raise DasError(f"{name} is {found:g}: expected {bounds}")
    return found


def short_text(name: str, given: Any, most: int = PATH_BYTES) -> str:
    """A text that is not empty, not longer than a path may be, and without the character NUL."""
    found: str = fitted(name, given, str)
    if not found:
        raise DasError(f"{name} is empty: expected a text")
    if "\0" in found or len(found) > most:
        raise DasError(f"{name} is {shown(found)}: expected at most {most} characters, and none of them NUL")
    return found


# --- names and paths ---


def named(what: str, given: Any, also: str = "") -> str:
    """The one rule for names that become part of files' names: letters, digits, `_` and `-` (and the characters `also`), the
    first of them a letter, a digit or `_`, of at most `NAME_BYTES` bytes."""
    if not isinstance(given, str):
        raise DasError(f"{what} is called {shown(given)}: a name is a text; in YAML put it in quotes")
    if (
        not re.fullmatch(rf"\w[\w{re.escape(also)}-]*", given)
        or len(os.fsencode(given.encode("utf-8", "replace"))) > NAME_BYTES
    ):
        more = f", {' '.join(also)}" if also.strip() else ""
        raise DasError(
            f"{what} cannot be called {shown(given)}, for files bear its name: "
            f"expected letters, digits, _ and -{more}, beginning with a letter, at most {NAME_BYTES} bytes"
        )
    return given


def distinct(what: str, names: Sequence[str]) -> None:
    """DasError where two names differ in their case alone: some file systems take them for one."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise DasError(f"two {what} are called {other!r} and {name!r}, one name to some file systems: rename one of them")


def folder(name: str, given: Any) -> Path:
    """A folder that is there or can be made; nothing is made. DasError where it is a file, lies below one, or its name cannot
    be that of a folder, or nothing may be written there."""
    path = Path(short_text(name, str(given) if isinstance(given, Path) else given))
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise DasError(f"{name} is {shown(str(path))}: a folder's name has at most 255 bytes")
    there = next((p for p in (path, *path.absolute().parents) if os.path.lexists(p)), Path("/"))
    if not there.is_dir():
        raise DasError(f"{name} is {str(path)!r}: {there} is a file, expected a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DasError(f"{name} is {str(path)!r}: nothing may be written into {there}; give another folder")
    return path
