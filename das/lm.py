"""LM: a frozen network, its tokenizer, and where its blocks are."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from das.errors import DasError, unknown
from das.prompt import Tokenizer
from das.settings import DTYPES

MODELS = Path(__file__).parent / "models"
"""The folder of the networks that ship with das."""


def shipped() -> list[str]:
    """Names of the networks that ship with das."""
    return sorted(path.parent.name for path in MODELS.glob("*/config.json"))


def _where(source: str) -> tuple[str, dict[str, Any]]:
    """What to hand to `from_pretrained`: a shipped name, a folder, a GGUF file, else a hub id."""
    path = MODELS / source if source in shipped() else Path(source)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise DasError(f"no GGUF file at {path}")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise DasError(f"folder {path} holds no config.json: expected a saved Hugging Face model")
        return str(path), {}
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DasError(f"no model at {source}: give a folder, a GGUF file, a hub id or one of: {', '.join(shipped())}")
    if difflib.get_close_matches(source, shipped(), cutoff=0.8):
        raise unknown("network", source, shipped())
    return source, {}


def _pretrained(loader: Any, source: str, what: str, **options: Any) -> Any:
    target, extra = _where(source)
    try:
        return loader.from_pretrained(target, **extra, **options)
    except (OSError, ValueError, ImportError) as error:
        raise DasError(
            f"cannot load the {what} of {source!r} ({str(error).strip().splitlines()[0]}). "
            f"Give a folder, a GGUF file (with the package gguf), a hub id or one of: {', '.join(shipped())}"
        ) from error


def load_tokenizer(source: str) -> Tokenizer:
    """The tokenizer alone, without weights; it always has a padding token."""
    from transformers import AutoTokenizer

    tokenizer = _pretrained(AutoTokenizer, source, "tokenizer")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_config(source: str) -> Any:
    """The network's configuration alone, without weights."""
    from transformers import AutoConfig

    return _pretrained(AutoConfig, source, "configuration")


@dataclass
class LM:
    """A frozen causal language model.

    model: a Hugging Face `…ForCausalLM`, in evaluation mode, its parameters without gradients.
    """

    model: nn.Module
    tokenizer: Tokenizer
    name: str = "lm"

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)
        self._holder, self._attribute = _find_blocks(self.model)

    @classmethod
    def load(cls, source: str, dtype: str = "float32", device: str = "cpu") -> LM:
        """By shipped name, folder, hub id or GGUF file. dtype: `float32`, `bfloat16` or `float16`."""
        from transformers import AutoModelForCausalLM

        if dtype not in DTYPES:
            raise DasError(f"dtype {dtype!r}: expected float32, bfloat16 or float16")
        tokenizer = load_tokenizer(source)
        model = _pretrained(AutoModelForCausalLM, source, "weights", dtype=getattr(torch, dtype))
        return cls(model.to(device), tokenizer, source)

    @property
    def blocks(self) -> nn.ModuleList:
        """The network's layers, in order."""
        blocks: nn.ModuleList = getattr(self._holder, self._attribute)
        return blocks

    @contextmanager
    def with_blocks(self, blocks: Sequence[nn.Module]) -> Iterator[None]:
        """The network with other layers in place of its own, for the time of a `with` block."""
        own = self.blocks
        setattr(self._holder, self._attribute, nn.ModuleList(blocks))
        try:
            yield
        finally:
            setattr(self._holder, self._attribute, own)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @property
    def width(self) -> int:
        """The size of a hidden state."""
        return hidden_size(self.model.config)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype


def hidden_size(config: Any) -> int:
    """The size of a hidden state, from a configuration."""
    return int(config.get_text_config().hidden_size)


def layer_count(config: Any) -> int:
    """The number of layers, from a configuration."""
    return int(config.get_text_config().num_hidden_layers)


def _find_blocks(model: nn.Module) -> tuple[nn.Module, str]:
    """The module that holds the list of layers, and the list's name there."""
    layers = layer_count(model.config)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == layers:
            holder, _, name = path.rpartition(".")
            return model.get_submodule(holder), name
    raise DasError(f"{type(model).__name__} has no list of {layers} layers: das needs a model made of blocks")
