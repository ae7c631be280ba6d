"""Heads: what a network's attention heads do for a task, each named by a written rule (see `das.circuits.roles`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das.causal.columns import Columns, take
from das.circuits.heads import looked, repeating
from das.circuits.regions import REGIONS, region_of, regions
from das.circuits.roles import ROLES, head_table, strength
from das.errors import DasError
from das.network.lm import LM
from das.pairs.dataset import Dataset, Rows
from das.pairs.pairs import Pairs
from das.run.experiment import Experiment
from das.stats import Bootstrap
from das.task.prompt import Prompt
from das.task.template import variable
from das.task.texts import Texts
from das.text import aligned
from das.use.finding import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 128
"""Prompts that are looked at."""
SHOWN, OF_ROLE = 12, 3
"""Heads that the text names: those that write most, and those of each role of which it rests on the most."""


@dataclass(frozen=True)
class Heads(Finding):
    """table: see `das.circuits.roles.head_table`. lm, hypothesis; fields: region → the fields in it; prompts: how many; why:
    for which reason nobody knows what heads write; empty where it is known."""

    stem: ClassVar[str] = "heads"

    table: pd.DataFrame
    lm: str
    hypothesis: str
    fields: dict[str, list[str]]
    prompts: int
    why: str = ""

    @property
    def title(self) -> str:
        """Of text and picture."""
        return f"{self.hypothesis} in {self.lm}: what heads write and where they look at the end, {self.prompts} prompts"

    def text(self) -> str:
        """The heads that write most, and the clearest of each role."""
        rows = [_told(row) for row in self.table.loc[self._shown()].to_dict("records")]
        head = "head", "role", "writes (95 %)", "subject", "relation", "context", "first", "itself", "previous", "induction"
        where = [f"{region}: {', '.join(names)}" for region, names in self.fields.items() if names]
        why = [f"what heads write is not known: {self.why}"] if self.why else []
        many = ", ".join(f"{role} {len(self.of(role))}" for role in ROLES if len(self.of(role)))
        return "\n".join([self.title, *why, *where, f"roles: {many or 'none'}", "", aligned([head, *rows])])

    def of(self, role: str) -> pd.DataFrame:
        """The heads of a role, the clearest first."""
        mine = self.table[[role in each.split(" + ") for each in self.table["role"]]]
        return mine.loc[strength(mine, role).sort_values(ascending=False, kind="stable").index]

    def _shown(self) -> list[int]:
        most = self.table["writes"].abs().dropna().sort_values(ascending=False, kind="stable").index[:SHOWN]
        return list(dict.fromkeys([*most, *(i for role in ROLES for i in self.of(role).index[:OF_ROLE])]))

    def figure(self) -> Figure:
        """What each head writes, and its role."""
        from das.draw.heads import heads_figure

        return heads_figure(self.table, self.title)

    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        about = {"lm": self.lm, "hypothesis": self.hypothesis, "fields": self.fields, "prompts": self.prompts, "why": self.why}
        return about | {"heads": self.table.astype(object).where(self.table.notna(), None).to_dict("records")}


def _told(row: Mapping[Any, Any]) -> list[str]:
    wrote = "" if np.isnan(row["writes"]) else f"{row['writes']:+.2f} ({row['writes_low']:+.2f} to {row['writes_high']:+.2f})"
    looks = (*("subject", "relation", "context", "first", "itself"), "previous", "induction")
    return [f"{row['layer']}.{row['head']}", row["role"], wrote, *(f"{row[name]:.2f}" for name in looks)]


def heads(lm: LM, asked: Experiment, base: Columns, answer: Rows, other: Rows, shared: Bootstrap) -> Heads:
    """Of prompts, by the rows of their inputs.

    asked: whose one hypothesis it is. answer, other: two tokens for each prompt, between which heads write. shared: of the
    prompts. DasError where the network gives no attention weights, or prompts are not words."""
    texts, question = asked.task.render(base), asked.settings.asked().render(base)
    if not isinstance(texts, Texts) or not isinstance(question, Texts):
        raise DasError("heads are told of prompts in words")
    named = _regions_of(asked, texts)
    at = regions(texts, question.texts, named, asked.tokenizer)
    found = looked(lm, texts.encode(asked.tokenizer), at, answer, other)
    fields = {region: [f for f, i in named.items() if i == number] for number, region in enumerate(REGIONS)}
    table = head_table(found, *repeating(lm), shared)
    return Heads(table, lm.name, asked.hypotheses[0], fields, len(answer), found.why)


def heads_of_pairs(lm: LM, asked: Experiment, pairs: Pairs, data: Dataset, some: NDArray[np.bool_]) -> Heads:
    """Of the distinct base prompts of some of a hypothesis' pairs whose counterfactual answer is another than the base's, at
    most `MOST`; heads write between these two. DasError where there are none, and as for `heads`."""
    p = data.pairs[asked.hypotheses[0]]
    answer, other = (data.answers.spelling(each)[:, 0] for each in (p.base_label, p.label))
    fit = np.flatnonzero(some & (answer != other))
    rows = fit[np.unique(p.base[fit], return_index=True)[1]][:MOST]
    if not len(rows):
        raise DasError("no such pair's counterfactual answer is another than its base's: there is nothing for heads to write")
    return heads(lm, asked, take(pairs.base, rows), answer[rows], other[rows], Bootstrap(p.base[rows]))


def _regions_of(asked: Experiment, texts: Texts) -> dict[str, int]:
    """Field of the prompt → its region, by what its hypothesis' variables and its answer are computed from."""
    hypothesis, prompt = asked.task.hypotheses[asked.hypotheses[0]], asked.task.prompt
    assert isinstance(prompt, Prompt)
    model = hypothesis.model
    causes = {cause for name in hypothesis.variables for cause in (name, *model.causes(name))}
    behind = {name: [] if name in prompt.fillers else prompt.behind([variable(name)]) for name in prompt.templates.named}
    return {name: region_of(some, causes, model.causes(model.output)) for name, some in behind.items() if name in texts.spans}
