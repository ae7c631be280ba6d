"""Trajectory: an answer on its way through a network's layers (see `das.circuits.lens`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from das.causal.columns import Columns
from das.circuits.lens import ANSWERED
from das.circuits.lens import answered as which
from das.circuits.lens import trajectory as found_by
from das.errors import DasError, unknown
from das.network.site import single_layers
from das.run.experiment import Experiment
from das.task.asked import KNOWN
from das.text import aligned
from das.use.finding import Finding
from das.use.heads import Heads, heads_of_pairs
from das.use.one_hypothesis import one_hypothesis, resumed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trajectory(Finding):
    """table: see `das.circuits.lens.trajectory`. tokens: position → the token there in an example prompt. lm, task. answered:
    how the prompts are. answer: which is looked for; None: the right one. heads: what the attention heads do in these; None,
    and why, where that is not known."""

    stem: ClassVar[str] = "trajectory"

    table: pd.DataFrame
    tokens: dict[str, str]
    lm: str
    task: str
    answered: str
    answer: Any
    heads: Heads | None
    why: str = ""

    @property
    def layers(self) -> list[int]:
        """That were looked at."""
        found: list[int] = self.table["layer"].unique().tolist()
        return found

    @property
    def title(self) -> str:
        """Of text and picture."""
        prompts = int(self.table["prompts"].iloc[0])
        how = {"right": " that are answered rightly", "wrong": " that are answered wrongly"}.get(self.answered, "")
        which = "the right answer" if self.answer is None else f"the answer {str(self.answer)!r}"
        return f"{self.task} in {self.lm}: {which} in each layer's state, {prompts} prompts{how}"

    def text(self) -> str:
        """Mean probability and median rank by layer, a pair of columns for each position."""
        head = ["layer", *(f"{position}: {what}" for position in self.tokens for what in ("probability", "rank"))]
        by = self.table.set_index(["layer", "position"])
        rows = [[str(layer), *(c for p in self.tokens for c in _told(by.loc[(layer, p)]))] for layer in self.layers]
        heads = self.heads.text() if self.heads else f"no roles of heads: {self.why}"
        return f"{self.title}\n\n{aligned([head, *rows])}\n\n{heads}"

    def figure(self) -> Figure:
        """Probability and rank against the layer, a line per position."""
        from das.draw.trajectory import trajectory_figure

        return trajectory_figure(self.table, self.tokens, self.title)

    def plain(self) -> dict[str, Any]:
        """All of it as plain data but for the heads."""
        about = {"task": self.task, "lm": self.lm, "answered": self.answered, "answer": self.answer, "tokens": self.tokens}
        return about | {"states": self.table.to_dict("records")}

    def write(self, folder: str | Path) -> list[Path]:
        """trajectory.json, .csv and .png; and of the heads, where they are known, heads.json, .csv and .png."""
        return [*super().write(folder), *(self.heads.write(folder) if self.heads else [])]


def _told(state: Any) -> tuple[str, str]:
    return f"{state['probability']:.3f}", f"{state['rank']:.0f}"


def trajectory(
    task: Any, lm: Any, hypothesis: str | None = None, *, pairs: int = 256, answered: str = "right", answer: Any = None,
    **settings: Any,
) -> Trajectory:  # fmt: skip
    """How likely the right answer stands in each layer's state at each position, when the network's own last norm and head read
    it (the logit lens, nostalgebraist 2020); and what its attention heads do on the way (see `das.circuits.roles`).

    hypothesis: whose base prompts are taken, by default the task's first. pairs: how many are drawn. answered: which of their
    prompts are taken, those that the network answers `right`, `wrong`, or `all`. answer: an answer of the task that is
    looked for in every prompt, in place of the right one. settings: others of `das.Settings`, such as layers, positions, under,
    seed. Of answers of several tokens the first is looked for. DasError where the network cannot be resumed: its head cannot be
    put anywhere else then.
    """
    if answered not in ANSWERED:
        raise unknown("answered", answered, ANSWERED)
    asked = one_hypothesis(task, lm, hypothesis, pairs, **settings)
    material, name = asked.material(), asked.hypotheses[0]
    engine, data = resumed(material.engine, "a trajectory"), material.data["test"]
    some = which(engine, data, name, answered)
    token = None if answer is None else _token_of(asked, answer, material.pairs["test"][name].base)
    table = found_by(engine, data, name, some, single_layers(asked.layers), asked.positions, token)
    found, why = None, ""
    try:
        found = heads_of_pairs(material.lm, asked, material.pairs["test"][name], data, some)
    except DasError as error:
        why = str(error)
    tokens = asked.task.tokens_at(asked.tokenizer, asked.positions)
    return Trajectory(table, tokens, material.lm.name, asked.task.name, answered, answer, found, why)


def _token_of(asked: Experiment, answer: Any, inputs: Columns) -> int:
    """The first token of an answer. DasError where the task has no such answer."""
    plain = asked.settings.asked()
    known = plain.outputs(plain.some(KNOWN))
    said = [str(value) for value in known.tolist()]
    if str(answer) not in said:
        raise unknown("answer", str(answer), sorted(set(said)))
    mine = known[[said.index(str(answer))]]
    return int(asked.task.answer_tokens(mine, inputs, asked.tokenizer)[0])
