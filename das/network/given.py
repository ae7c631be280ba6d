"""Given: a network as it was given, by name, path or as an object, each part of it read when it is first asked for."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from das.errors import DasError
from das.network.lm import LM
from das.network.net import Net
from das.network.own import is_file, own_network
from das.network.source import hidden_size, layer_count, load_config, load_tokenizer
from das.task.form import Form
from das.task.prompt import Prompt
from das.task.rendered import Prompts
from das.task.tokenizer import Tokenizer


class Given:
    """The tokenizer and the shape come without weights; `lm`, the network itself, is loaded last and once. An object, or what a
    file of the user's own makes, is there from the start."""

    def __init__(self, lm: str | Path | LM, dtype: str = "float32", device: str = "auto") -> None:
        self.source, self.dtype, self.device = lm, dtype, device

    @cached_property
    def _object(self) -> LM | None:
        return self.source if isinstance(self.source, LM) else own_network(self.source) if is_file(self.source) else None

    @property
    def printed(self) -> str | Path | LM:
        """What tells whether it is still the same network: its files, or itself."""
        return self._object or self.source

    @property
    def net(self) -> Net | None:
        """The network where it reads no words."""
        return self._object if isinstance(self._object, Net) else None

    @property
    def modules(self) -> list[str]:
        """The names of its layers; none where they go by their numbers."""
        return self.net.names if self.net else []

    def check_form(self, form: Form) -> None:
        """DasError unless it takes what a task is put to it as."""
        if isinstance(form, Prompt) and self.net:
            raise DasError(
                f"{self.net.name} takes tensors, and the task is put in words: give the task das.Tensors, or a das.LM"
            )
        if isinstance(form, Prompt) and self._object and self._object.tokenizer is None:
            raise DasError(
                "the network has no tokenizer, and the task is put in words: give das.LM one, or put the task as das.Tensors "
                "and the network in a das.Net"
            )
        if not isinstance(form, Prompt) and not self.net:
            raise DasError(
                "the task is put as tensors, and the network reads words: give a das.Net, or a file that defines one"
            )

    @cached_property
    def lm(self) -> LM:
        return self._object or LM.load(str(self.source), self.dtype, self.device)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return self._object.tokenizer if self._object else load_tokenizer(str(self.source))

    @cached_property
    def config(self) -> Any:
        """The configuration of its language model, read once: of a GGUF file it takes seconds. None for a module without."""
        config: Any = getattr(self._object.model, "config", None) if self._object else load_config(str(self.source))
        return config.get_text_config() if hasattr(config, "get_text_config") else config

    @property
    def shape(self) -> Any:
        """The configuration, or where there is none, or none that says its heads, one that stands in for it: of a transformer
        with as many layers and parameters."""
        if hasattr(self.config, "num_attention_heads"):
            return self.config
        lm = self.lm if self._object else self.skeleton
        parameters, depth = sum(p.numel() for p in lm.model.parameters()), lm.layers
        width = getattr(self.config, "hidden_size", None) or max(1, math.ceil(math.sqrt(parameters / (12 * depth))))
        inner = max(1, round((parameters / depth - 4 * width**2) / (2 * width)))
        return SimpleNamespace(
            hidden_size=width, num_hidden_layers=depth, num_attention_heads=1, intermediate_size=inner, vocab_size=1
        )

    @cached_property
    def skeleton(self) -> LM:
        """Enough to find its parts."""
        return self._object or LM.skeleton(str(self.source))

    @property
    def layers(self) -> int:
        return self._object.layers if self._object else layer_count(self.config)

    @property
    def width(self) -> int:
        """The size of a hidden state."""
        return self._object.width if self._object else hidden_size(self.config)

    def size(self, layer: int, prompts: Prompts) -> int:
        """The size of what a layer hands on."""
        return self.net.size("block_output", layer, prompts) if self.net else self.width
