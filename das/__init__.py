"""das: does this network really compute that? Causal abstraction by distributed alignment search."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__version__ = "0.1.0"


def handing_on(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """A package's `__getattr__` and `__all__`: it loads a public name's module when the name is first asked for, so that the
    package itself stays light. homes: module → the names of it that are public."""
    home = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    return get, sorted(home)


__getattr__, __all__ = handing_on(
    __name__,
    {
        "errors": "DasError",
        "causal.domains": "Range Choice Bool Uniform Sampler",
        "causal.inputs": "Inputs",
        "causal.model": "CausalModel",
        "causal.node": "scalar",
        "task.prompt": "Prompt",
        "task.shifts": "Shift Reword Given Context FewShot Chat Offset",
        "task.hypothesis": "Hypothesis",
        "task.task": "Task",
        "task.tensors": "Tensors",
        "task.own": "own_task with_pairs",
        "task.files": "load_task",
        "task.pointing": "Substring",
        "network.lm": "LM",
        "network.net": "Net",
        "network.nearest": "nearest",
        "pairs.families": "Family",
        "pairs.pairs": "Pairs",
        "pairs.drawer": "make_pairs",
        "find.kinds": "Boundless Nested Fixed Full Random",
        "network.site": "Site",
        "find.alignment": "Alignment",
        "run.settings": "Settings",
        "run.fit_settings": "FitSettings",
        "run.experiment": "Experiment",
        "run.fit_sae": "fit_sae",
        "use.run": "Run",
        "use.apply": "apply generate swapped",
        "use.steer": "steer steered",
        "use.causal_trace": "causal_trace",
        "use.circuit": "circuit",
        "use.trajectory": "trajectory",
        "use.editing": "edits",
        "edit.patch": "Patch",
        "use.monitor": "monitor",
        "use.pyvene": "to_pyvene from_pyvene",
        "use.fit": "fit",
    },
)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


importlib.import_module("das.ground.moved").register()
