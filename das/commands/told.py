"""Told: what a command says: a text for people, or with `--json` the same as data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from das.errors import DasError
from das.ground.plain import finite
from das.use.options import STDOUT


def tell(text: str, body: Any, to: str | None) -> None:
    """Prints the text, and writes the body as JSON to a file if one is given; to `-` in place of the text."""
    if to is not None:
        written = json.dumps(finite(body), indent=1, ensure_ascii=False, allow_nan=False, default=str)
        if to == STDOUT:
            text = written
        else:
            write_text(Path(to), written + "\n")
    print(text)


def check_place(to: str | None) -> None:
    """DasError where the file that is asked for cannot be written, before the work is done."""
    if to is None or to == STDOUT:
        return
    path = Path(to).absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if there.is_dir() == (there == path) or not os.access(there, os.W_OK):
        raise DasError(f"{to[:200]} cannot be written: {str(there)[:200]} is in the way, or may not be written to")


def write_text(path: Path, text: str) -> None:
    """Writes a file, and the folders that it lies in; DasError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except (OSError, ValueError) as error:
        raise DasError(f"{str(path)[:200]} cannot be written: {getattr(error, 'strerror', error)}") from error
