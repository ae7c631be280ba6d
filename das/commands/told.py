"""Told: what a command says: a text for people, or with `--json` the same as data."""

from __future__ import annotations

import json
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


def write_text(path: Path, text: str) -> None:
    """Writes a file, and the folders that it lies in; DasError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except (OSError, ValueError) as error:
        raise DasError(f"{str(path)[:200]} cannot be written: {getattr(error, 'strerror', error)}") from error
