"""Endings: what the command line says of an exception, in one line, and the status that it exits with."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback

from das.errors import DasError, one_line
from das.use.signals import STOPPED

DEBUG = "DAS_DEBUG"
"""The environment variable with which a stack trace is printed as well."""

WRONG, FAILED = 2, 1
HINT = f"({DEBUG}=1 shows where)"


def ended(error: BaseException) -> int:
    """Says on standard error what ended a command; returns the exit status."""
    if isinstance(error, BrokenPipeError):
        return _pipe()
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        traceback.print_exception(error)
    text, status = _said(error)
    print(f"das: {one_line(text)}", file=sys.stderr)
    return status


def _said(error: BaseException) -> tuple[str, int]:
    if isinstance(error, DasError):
        return str(error), WRONG
    if isinstance(error, KeyboardInterrupt):
        return str(error) or STOPPED, getattr(error, "status", 130)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate memory" in str(error):
        return f"out of memory: give a smaller batch, fewer pairs, or --memory 0 {HINT}", FAILED
    if isinstance(error, OSError) and error.errno is not None:
        return f"{_file(error)}{error.strerror}{_advice(error)} {HINT}", FAILED
    if isinstance(error, SystemExit):
        return f"something called sys.exit({error.code!r}) before the command was done {HINT}", FAILED
    return f"{type(error).__name__}: {str(error)[:500]} {HINT}", FAILED


def _file(error: OSError) -> str:
    return f"{error.filename}: " if error.filename is not None else ""


def _advice(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ": make room, and the same command goes on from here" if full else ""


def _pipe() -> int:
    """Nobody reads on, as with `| head`: says nothing, and keeps Python from saying it at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def encodable() -> None:
    """Lets what a terminal's encoding lacks be printed as `?`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
