"""das: does this network really compute that? Causal abstraction by distributed alignment search."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "DasError": "errors",
    **dict.fromkeys(["Range", "Choice", "Bool", "Uniform", "Sampler", "Inputs"], "domains"),
    **dict.fromkeys(["CausalModel", "scalar"], "causal"),
    "Prompt": "prompt",
    **dict.fromkeys(["Shift", "Reword", "Given", "Context", "FewShot", "Chat", "Offset"], "shifts"),
    **dict.fromkeys(["Task", "Hypothesis", "load_task"], "task"),
    **dict.fromkeys(["Boundless", "Nested", "Fixed", "Full", "Random"], "kinds"),
    "LM": "lm",
    **dict.fromkeys(["Pairs", "Family", "make_pairs"], "pairs"),
    "Alignment": "alignment",
    **dict.fromkeys(["Settings", "FitSettings"], "settings"),
    "Run": "run",
    "Experiment": "experiment",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    """Loads a public name's module when it is first asked for, so that `import das` stays light."""
    if name not in _HOME:
        raise AttributeError(f"module 'das' has no attribute {name!r}")
    return getattr(importlib.import_module(f"das.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
