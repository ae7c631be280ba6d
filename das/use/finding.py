"""Finding: a table of what was found, with its text and picture, that can be written into a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from das.ground.storage import write_json
from das.judge.claims import Claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Finding(ABC):
    """stem: what its files are called."""

    stem: ClassVar[str]
    table: pd.DataFrame

    @abstractmethod
    def text(self) -> str:
        """It in short."""

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""

    @abstractmethod
    def figure(self) -> Figure:
        """It as a picture."""

    def write(self, folder: str | Path) -> list[Path]:
        """Its data, its table and its picture, `.json`, `.csv` and `.png`, into a folder."""
        paths = [Path(folder) / f"{self.stem}.{ending}" for ending in ("json", "csv", "png")]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        write_json(paths[0], self.plain())
        self.table.to_csv(paths[1], index=False)
        self.figure().savefig(paths[2], dpi=150)
        return paths


class Judged(Finding):
    """A finding that claims something."""

    @property
    @abstractmethod
    def verdicts(self) -> list[Claim]:
        """What may be said of each of its claims."""

    @property
    def judged(self) -> str:
        """The verdicts in full, a paragraph each."""
        return "\n\n".join(claim.sentence for claim in self.verdicts)
