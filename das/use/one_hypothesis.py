"""One hypothesis of a task and a network, with pairs to look at and none to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from das.errors import DasError
from das.ground.checks import whole
from das.interchange.engine import Engine, HookEngine, ResumeEngine
from das.run.experiment import Experiment
from das.run.material import SPLITS


def resumed(engine: Engine, what: str, instead: str = "") -> ResumeEngine:
    """The engine of a network that can be resumed. DasError of any other: what needs it, and what to do instead."""
    if isinstance(engine, ResumeEngine):
        return engine
    why = engine.why if isinstance(engine, HookEngine) else ""
    raise DasError(f"{what} needs a network that can be resumed: {why}{instead}")


def one_hypothesis(
    task: Any, lm: Any, hypothesis: str | None, pairs: int, splits: Sequence[str] = ("test",), **settings: Any
) -> Experiment:  # fmt: skip
    """An experiment of a hypothesis, by default the task's first, some of whose splits have so many pairs. settings: as of
    `das.Settings`; None is what it is by default."""
    many = whole("pairs", pairs, 2, 10**6)
    sizes = {f"{split}_pairs": many if split in splits else 2 for split in SPLITS}
    given = {name: value for name, value in settings.items() if value is not None}
    made = Experiment(task, lm, hypotheses=hypothesis and [hypothesis], **sizes, **given)
    made.hypotheses = made.hypotheses[:1]
    return made
