"""The one error a user of das meets."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterable
from typing import Any


class DasError(Exception):
    """Says what was given, what was expected and what to do; the command line prints it without a stack trace."""


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 120
_REPR.maxlong = 40
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = 8


def shown(value: object) -> str:
    """How a value is written in an error: on one line, and never longer than can be read.

    >>> shown("x" * 1000)[:20], len(shown("x" * 1000))
    ("'xxxxxxxxxxxxxxxxxxx", 120)
    """
    try:
        text = _REPR.repr(value)
    except Exception:  # of an object whose repr fails, or an int of too many digits
        text = f"a {type(value).__name__}"
    return one_line(text)


def one_line(text: object) -> str:
    """A text without line breaks."""
    return " ".join(str(text).split())


def unknown(kind: str, given: object, known: Iterable[object]) -> DasError:
    """The error for a name that is not among `known`: it names the nearest one and lists the rest.

    >>> str(unknown("variable", "amout", ["amount", "lower"]))
    "unknown variable 'amout': did you mean 'amount'? Known: amount, lower"
    """
    names = [str(name) for name in known]
    near = nearest(given, names)
    return DasError(f"unknown {kind} {shown(str(given))}{f':{near}' if near else '.'} Known: {', '.join(names) or 'none'}")


def nearest(given: object, names: Iterable[str]) -> str:
    """The question whether the nearest of some names was meant, with a space before it; empty where none is near."""
    near = [name for name in difflib.get_close_matches(str(given)[:200], names, n=1) if name != given]
    return f" did you mean {near[0]!r}?" if near else ""


def called(what: str | Callable[[], str], expected: str, function: Callable[..., Any], *arguments: Any, on: str = "") -> Any:
    """What a function of the user's gives. DasError, that names it, where it raises.

    what: its name, or what gives it, where that takes longer than the function. expected: what it should have done; on: what it
    was asked about, where that says more, such as ` on 12 rows`.
    """
    try:
        return function(*arguments)
    except DasError:
        raise
    except (Exception, SystemExit) as error:
        name = what if isinstance(what, str) else what()
        raise DasError(f"{name} failed{on} with {type(error).__name__}: {one_line(error)}. Expected {expected}") from error
