"""Moved: the modules of 0.1 by their old names, so that scripts written for it go on working until 0.2."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "adapter": "network.adapter",
    "alignment": "find.alignment find.untrained",
    "asking": "network.asking network.closeness network.parts",
    "attention": "interchange.attention",
    "audit": "pairs.audit",
    "batch": "interchange.batch",
    "blocks": "network.blocks",
    "budget": "find.budget",
    "captures": "interchange.captures",
    "check": "run.check",
    "checks": "ground.checks",
    "columns": "causal.columns",
    "dataset": "pairs.dataset",
    "decoding": "judge.decoding",
    "device": "network.device",
    "domains": "causal.domains causal.inputs causal.predicates",
    "endings": "use.endings",
    "engine": "interchange.engine interchange.capture",
    "equality": "planted.equality",
    "evaluate": "judge.evaluate interchange.accuracy",
    "evidence": "judge.evidence",
    "experiment": "run.experiment",
    "failures": "judge.failures",
    "grid": "find.grid find.schedule",
    "held": "planted.held",
    "hops": "planted.hops",
    "identify": "pairs.identify",
    "identity": "task.identity",
    "interop": "use.pyvene",
    "kinds": "find.kinds",
    "layout": "run.layout",
    "limits": "network.limits",
    "lm": "network.lm network.source",
    "lock": "run.lock",
    "manifold": "judge.manifold",
    "maps": "transfer.maps",
    "material": "run.material",
    "mend": "run.mend",
    "named": "network.named",
    "nulls": "judge.nulls",
    "options": "use.options",
    "outcome": "draw.outcome",
    "paper": "draw.paper",
    "plain": "ground.plain",
    "plan": "run.plan run.costs run.machine",
    "plot": "draw.heatmaps draw.gallery draw.dag",
    "plot_evidence": "draw.evidence draw.axes",
    "plot_shift": "draw.shifts",
    "prompt": "task.prompt task.rendered task.positions task.encoded task.answers task.tokenizer",
    "provenance": "run.provenance",
    "quiet": "network.quiet",
    "rank": "find.rank",
    "reading": "judge.reading",
    "rivals": "pairs.rivals",
    "robustness": "transfer.robustness",
    "scan": "judge.scan",
    "score": "interchange.score",
    "scored": "transfer.scored",
    "screen": "find.screen",
    "seeding": "causal.seeding",
    "selftest": "interchange.selftest",
    "settings": "run.settings network.device",
    "shifts": "task.shifts task.variant task.plain_shifts",
    "signals": "use.signals",
    "site": "network.site",
    "standins": "interchange.standins",
    "storage": "ground.storage",
    "structures": "planted.structures",
    "subspace": "interchange.subspace interchange.feature find.rotations",
    "summary": "run.summary",
    "sums": "planted.sums",
    "taps": "network.taps",
    "template": "use.template",
    "tokenizer": "task.tokenizer",
    "train": "find.train",
    "trained": "planted.trained",
    "trials": "pairs.trials",
    "upstream": "pairs.upstream",
    "verdict": "judge.verdict interchange.accuracy",
    "work": "run.work",
    "workers": "run.processes",
}
"""Old name in `das` → the modules that now hold what it held."""


class _Old(MetaPathFinder, Loader):
    """Finds old names, and makes of each a module that asks the new ones."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        return ModuleSpec(name, self) if package == "das" and old in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        homes = MOVED[module.__name__.partition(".")[2]].split()
        warnings.warn(f"{module.__name__} is now das.{' and das.'.join(homes)}", DeprecationWarning, stacklevel=2)

        def get(name: str) -> Any:
            for home in homes:
                if hasattr(found := importlib.import_module(f"das.{home}"), name):
                    return getattr(found, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__dict__["__getattr__"] = get


def register() -> None:
    """Has Python find old names where it finds nothing else."""
    if not any(isinstance(finder, _Old) for finder in sys.meta_path):
        sys.meta_path.append(_Old())
