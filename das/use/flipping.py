"""Flipping: the pairs of three splits by which a circuit is scored, chosen and tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from das.causal.columns import Columns, differ, take
from das.circuits.contrasts import Contrasts, contrasts
from das.errors import DasError, unknown
from das.interchange.engine import ResumeEngine
from das.interchange.selftest import make_engine
from das.pairs.alike import alike
from das.pairs.dataset import Dataset
from das.pairs.origin import Drawn, Origin
from das.pairs.pairs import Pairs
from das.pairs.through import through
from das.run.experiment import Experiment
from das.run.material import SPLITS, origins_of
from das.task.encoded import Encoded
from das.use.one_hypothesis import resumed


@dataclass(frozen=True)
class Flipping:
    """engine: of the network, with what all prompts begin with. splits: `train`, `val` and `test`, no prompt in two of them.
    rivals: hypotheses that the pairs cannot tell from this one (see `das.pairs.alike`); changed: inputs that differ in test
    pairs. base: the inputs of the test pairs' bases."""

    engine: ResumeEngine
    splits: dict[str, Contrasts]
    rivals: list[str] | None
    changed: list[str]
    base: Columns


def flipping(asked: Experiment, variable: str, drawn: bool, whole: bool = False) -> Flipping:
    """Of the experiment's one hypothesis, through one of its variables.

    drawn: pairs are drawn as the settings' families say, and not by `das.pairs.through`; those that were brought with the task
    are taken as they are. whole: nothing that all prompts begin with is run apart."""
    name, s = asked.hypotheses[0], asked.settings
    hypothesis = asked.task.hypotheses[name]
    origins = origins_of(s, asked.network, asked.task, asked.hypotheses)
    pairs = {split: _pairs(asked, variable, drawn, origins[split], i) for i, split in enumerate(SPLITS)}
    data = {split: Dataset.make(asked.task, asked.tokenizer, {name: p}, positions_of(asked)) for split, p in pairs.items()}
    engine = _engine(asked, list(data.values()), whole)
    number = hypothesis.variables.index(variable) if len(hypothesis.variables) > 1 else None
    found = {split: contrasts(engine, some, name, number) for split, some in data.items()}
    rivals = alike(asked.task.hypotheses, name, variable, origins["test"].pool)
    splits = _apart(found)
    rows = splits["test"].rows
    assert rows is not None
    base = take(pairs["test"].base, rows)
    return Flipping(engine, splits, rivals, _changed(pairs["test"], variable), base)


def _pairs(asked: Experiment, variable: str, drawn: bool, origin: Origin, number: int) -> Pairs:
    """Of the split of this number."""
    name = asked.hypotheses[0]
    if drawn or not isinstance(origin, Drawn):
        return origin.pairs(name)
    rng = np.random.default_rng([asked.settings.seed, 11, number])
    return through(asked.task.hypotheses[name], variable, origin.pool, origin.n, rng)


def _changed(pairs: Pairs, variable: str) -> list[str]:
    """The inputs that differ in any pair."""
    source = pairs.sources[variable]
    return [name for name, column in pairs.base.items() if differ(column, source[name]).any()]


def variable_of(asked: Experiment, variable: str | None) -> str:
    """One of the hypothesis' variables, by default the first. DasError where it has none of that name."""
    variables = asked.task.hypotheses[asked.hypotheses[0]].variables
    if variable is not None and variable not in variables:
        raise unknown(f"variable of {asked.hypotheses[0]}", variable, variables)
    return variable or variables[0]


def positions_of(asked: Experiment) -> list[str]:
    """Those asked for, and where every field begins and ends, by which it is told whether prompts line up."""
    fields = getattr(asked.task.prompt, "fields", ())
    return list(dict.fromkeys([*asked.positions, *(f"{field}.{end}" for field in fields for end in ("first", "last"))]))


def _engine(asked: Experiment, data: list[Dataset], whole: bool) -> ResumeEngine:
    prompts = Encoded.concat([each.prompts.asked() for each in data])  # type: ignore[misc]
    prefix = prompts.prefix(prompts.width) if not whole else None
    made = make_engine(asked.network.lm, prefix, None, int(prompts.lengths.max()), prompts)
    return resumed(made, "a circuit")


def _apart(found: dict[str, Contrasts]) -> dict[str, Contrasts]:
    """Without pairs of which a prompt is in a split before. DasError where fewer than two are left."""
    seen, apart = np.zeros(0, np.int64), {}
    for split, some in found.items():
        roles = [some.prompts.identities(), some.others.identities()]
        new = ~np.isin(roles, seen).any(0)
        if new.sum() < 2:
            raise DasError(
                f"all but {int(new.sum())} of {len(some)} {split} pairs have prompts of other splits: ask for fewer pairs"
            )
        apart[split] = some.take(np.flatnonzero(new))
        seen = np.concatenate([seen, *roles])
    return apart
