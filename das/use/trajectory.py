"""Trajectory: an answer on its way through a network's layers (see `das.circuits.lens`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from das.circuits.lens import trajectory as found_by
from das.network.site import single_layers
from das.text import aligned
from das.use.finding import Finding
from das.use.one_hypothesis import one_hypothesis, resumed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trajectory(Finding):
    """table: see `das.circuits.lens.trajectory`. tokens: position → the token there in an example prompt. lm, task."""

    stem: ClassVar[str] = "trajectory"

    table: pd.DataFrame
    tokens: dict[str, str]
    lm: str
    task: str

    @property
    def layers(self) -> list[int]:
        """That were looked at."""
        found: list[int] = self.table["layer"].unique().tolist()
        return found

    @property
    def title(self) -> str:
        """Of text and picture."""
        prompts = int(self.table["prompts"].iloc[0])
        return f"{self.task} in {self.lm}: the answer in each layer's state, {prompts} prompts that are answered rightly"

    def text(self) -> str:
        """Mean probability and median rank by layer, a pair of columns for each position."""
        head = ["layer", *(f"{position}: {what}" for position in self.tokens for what in ("probability", "rank"))]
        by = self.table.set_index(["layer", "position"])
        rows = [[str(layer), *(c for p in self.tokens for c in _told(by.loc[(layer, p)]))] for layer in self.layers]
        return f"{self.title}\n\n{aligned([head, *rows])}"

    def figure(self) -> Figure:
        """Probability and rank against the layer, a line per position."""
        from das.draw.trajectory import trajectory_figure

        return trajectory_figure(self.table, self.tokens, self.title)

    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"task": self.task, "lm": self.lm, "tokens": self.tokens, "states": self.table.to_dict("records")}


def _told(state: Any) -> tuple[str, str]:
    return f"{state['probability']:.3f}", f"{state['rank']:.0f}"


def trajectory(task: Any, lm: Any, hypothesis: str | None = None, *, pairs: int = 256, **settings: Any) -> Trajectory:
    """How likely the right answer stands in each layer's state at each position, when the network's own last norm and head read
    it (the logit lens, nostalgebraist 2020).

    hypothesis: whose base prompts are taken, by default the task's first; of these the ones that are answered rightly. pairs:
    how many are drawn. settings: others of `das.Settings`, such as layers, positions, under, seed. Of answers of several tokens
    the first is looked for. DasError where the network cannot be resumed: its head cannot be put anywhere else then.
    """
    asked = one_hypothesis(task, lm, hypothesis, pairs, **settings)
    material, name = asked.material(), asked.hypotheses[0]
    engine = resumed(material.engine, "a trajectory")
    table = found_by(engine, material.data["test"], name, single_layers(asked.layers), asked.positions)
    tokens = asked.task.tokens_at(asked.tokenizer, asked.positions)
    return Trajectory(table, tokens, material.lm.name, asked.task.name)
