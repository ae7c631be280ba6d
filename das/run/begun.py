"""Begun: the folder of a training that may be killed: it goes on with the same settings, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from das.errors import DasError
from das.ground.storage import read_json, write_json


def begin(work: Path, settings: Mapping[str, Any]) -> None:
    """Makes the working folder, or checks that it was begun with the same settings, which JSON holds as they are."""
    path = work / "settings.json"
    if work.is_symlink():
        raise DasError(f"{work} is a link: remove it, or give another folder")
    if path.exists() and read_json(path) != settings:
        raise DasError(f"{work} was begun with other settings: remove it, or give another folder")
    write_json(path, settings)
