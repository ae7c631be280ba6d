"""The one error a user of das meets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DasError(Exception):
    """Says what was given, what was expected and what to do; the command line prints it without a stack trace."""


def unknown(kind: str, given: object, known: Iterable[object]) -> DasError:
    """The error for a name that is not among `known`: it names the nearest one and lists the rest.

    >>> str(unknown("variable", "amout", ["amount", "lower"]))
    "unknown variable 'amout': did you mean 'amount'? Known: amount, lower"
    """
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return DasError(f"unknown {kind} {str(given)!r}:{hint} Known: {', '.join(names) or 'none'}")
