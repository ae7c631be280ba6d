"""Monitored: what a monitor read of texts: numbers, a page and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das.draw.strips import PART, Mark, Scale, Strip, visible
from das.errors import unknown
from das.find.alignment import Cell
from das.ground.storage import write, write_json
from das.task.pieces import Piece
from das.text import aligned, html_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BY = "mean", "layer"
"""A strip for each text: its mean over the layers, or one for every layer."""

TALL = 700
"""Pixels of the highest page in a notebook."""

BAR = 12
"""Letters of the longest bar on the console."""


class Level(NamedTuple):
    """A value of the variable, or a range of them, and where the task's prompts that have it lie on average, in natural
    spreads."""

    name: str
    mean: float


@dataclass(frozen=True)
class Monitored:
    """What a monitor read.

    pieces: of each text its tokens. readings: of each text (layers, tokens), (h − μ)·v. spreads: (layers,), the natural spread
    along the direction: the standard deviation of the task's prompts. levels: of the variable; none where it has too many.
    """

    cell: Cell
    variable: str
    lm: str
    layers: Sequence[int]
    pieces: Sequence[Sequence[Piece]]
    readings: Sequence[NDArray[np.float64]]
    spreads: NDArray[np.float64]
    levels: Sequence[Level]

    @property
    def scaled(self) -> list[NDArray[np.float64]]:
        """The readings in natural spreads."""
        return [each / self.spreads[:, None] for each in self.readings]

    @property
    def table(self) -> pd.DataFrame:
        """A row per text, layer and token: `reading`, and `spreads`, the same in natural spreads."""
        parts = []
        for number, (tokens, own, scaled) in enumerate(zip(self.pieces, self.readings, self.scaled, strict=True)):
            known = {
                "text": number,
                "token": range(len(tokens)),
                "piece": [p.text for p in tokens],
                "id": [p.token for p in tokens],
            }
            parts += [
                pd.DataFrame({**known, "layer": layer, "reading": own[i], "spreads": scaled[i]})
                for i, layer in enumerate(self.layers)
            ]
        return pd.concat(parts, ignore_index=True)

    @property
    def what(self) -> str:
        """What was read, in a line."""
        component, position = self.cell.site.places[0].component, self.cell.site.places[0].position
        layers = f"layer {self.layers[0]}" if len(self.layers) == 1 else f"layers {', '.join(map(str, self.layers))}"
        return f"{self.cell.hypothesis}.{self.variable} at {component}, {layers} of {self.lm}, found at {position}"

    def text(self) -> str:
        """For people: a line per token, with the mean over the layers in natural spreads."""
        parts = [f"{self.what}\n{self._scale.below} | {self._scale.above}\n{self._scale.unit}"]
        for tokens, scaled in zip(self.pieces, self.scaled, strict=True):
            rows = [[_shown(piece), f"{value:+.2f}", _bar(value)] for piece, value in zip(tokens, scaled.mean(0), strict=True)]
            parts.append(aligned(rows))
        return "\n\n".join(parts)

    __repr__ = text

    # --- pictures ---

    def strips(self, by: str = "mean") -> list[Strip]:
        """What is drawn: a strip for each text (by its mean over the layers), or for each of its layers."""
        checked_by(by)
        made, several = [], len(self.pieces) > 1
        for number, (tokens, scaled) in enumerate(zip(self.pieces, self.scaled, strict=True), 1):
            each = {"": scaled.mean(0)} if by == "mean" else dict(zip(map("layer {}".format, self.layers), scaled, strict=True))
            for label, values in each.items():
                named = ", ".join(filter(None, [several * f"text {number}", label]))
                made.append(Strip(named, [_mark(*pair) for pair in zip(tokens, values, strict=True)]))
        return made

    @property
    def _scale(self) -> Scale:
        order = sorted(self.levels, key=lambda level: level.mean)
        named = [f"{self.variable} = {level.name} ({level.mean:+.2f})" for level in order] or ["below", "above"]
        return Scale(named[0], named[-1], "0 is the mean of the task's prompts, 1 their standard deviation along the direction")

    def figure(self, by: str = "mean") -> Figure:
        """The texts as a picture."""
        from das.draw.monitor import figure

        return figure(self.strips(by), self._scale, self.what)

    def page(self, by: str = "mean") -> str:
        """The texts as HTML that needs nothing else."""
        from das.draw.page.monitor import page

        return page(self.strips(by), self._scale, self.what)

    def html(self, path: str | Path, by: str = "mean") -> Path:
        """Writes `page`; its path. DasError where it cannot be written."""
        return _written(path, lambda made: made.write_text(self.page(by), "utf-8"))

    def png(self, path: str | Path, by: str = "mean") -> Path:
        """Writes `figure`, likewise."""
        return _written(path, partial(self.figure(by).savefig, format="png", dpi=150))

    def write(self, folder: str | Path, by: str = "mean") -> list[Path]:
        """Writes the page, the picture and the table as JSON into a folder; their paths."""
        table = Path(folder) / "monitor.json"
        write_json(table, self.plain())
        return [self.html(Path(folder) / "monitor.html", by), self.png(Path(folder) / "monitor.png", by), table]

    def plain(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        known = {"what": self.what, "layers": list(self.layers), "natural_spreads": self.spreads.tolist()}
        return known | {"levels": dict(self.levels), "tokens": self.table.to_dict("records")}

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its styles stay in it."""
        lines = sum(len(piece.text) for tokens in self.pieces for piece in tokens) // 90 + len(self.pieces)
        return html_frame("das monitor", self.page(), min(TALL, 260 + 34 * lines))


def checked_by(by: str) -> None:
    """DasError unless it is one of `BY`."""
    if by not in BY:
        raise unknown("way to show layers", str(by), BY)


def _mark(piece: Piece, value: float) -> Mark:
    about = f"{piece.name}  {value:+.2f}" + ("  (further byte)" if piece.part else "")
    return Mark(_shown(piece), piece.text.count("\n"), float(value), about, quiet=piece.special or piece.part)


def _shown(piece: Piece) -> str:
    return PART if piece.part else visible(piece.name if piece.special else piece.text)


def _bar(value: float) -> str:
    return ("+" if value > 0 else "-") * min(BAR, round(4 * abs(value)))


def _written(path: str | Path, writer: Any) -> Path:
    write(Path(path), writer, noted=False)
    return Path(path)
