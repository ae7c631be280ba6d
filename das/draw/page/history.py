"""History: how a run came to be: its settings, what it was made from, its pairs, and how its training went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from das import __version__
from das.ground.storage import read_json, written
from das.run.folder import Folder

POINTS = 300
"""Of a training curve; of more, evenly spread ones."""


def history(run: Folder) -> dict[str, Any]:
    """What a page tells of it, as far as the folder holds it. No path of the machine that it ran on is among it."""
    folder = run.folder
    config = folder / "config.yaml"
    made = run.made
    return {
        "config": config.read_text("utf-8") if config.is_file() else "",
        "python": made.get("python"),
        "weights": made.get("weights", {}),
        "functions": made.get("measures", {}),
        "version": __version__,
        "audit": read_json(folder / "audit.json").get("test", {}) if written(folder / "audit.json") else {},
        "shifts": read_json(folder / "shift.json") if written(folder / "shift.json") else None,
        "seconds": run.seconds,
        "training": [curve for path in sorted((folder / "logs").glob("*/*/metrics.csv")) if (curve := _curve(path))],
    }


def _curve(path: Path) -> dict[str, Any] | None:
    """The loss of cells that were trained together, by step; None where a log has none, or cannot be read."""
    try:
        table = pd.read_csv(path)
        table = table[["step", "loss", "cells"]].dropna(subset=["step", "loss"])
    except (OSError, ValueError, KeyError):
        return None
    table = table.iloc[:: -(-len(table) // POINTS) or 1]
    stage = path.parents[1].name.rpartition("-")[0].replace("-", " ")
    return {"stage": stage, "cells": table["cells"].iloc[0], "step": table["step"].tolist(), "loss": table["loss"].tolist()}
