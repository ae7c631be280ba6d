"""Given: a network as it was given, by name, path or as an object, each part of it read when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from das.network.lm import LM
from das.network.source import hidden_size, layer_count, load_config, load_tokenizer
from das.task.tokenizer import Tokenizer


class Given:
    """The tokenizer and the shape come without weights; `lm`, the network itself, is loaded last and once."""

    def __init__(self, lm: str | Path | LM, dtype: str = "float32", device: str = "cpu") -> None:
        self.source, self.dtype, self.device = lm, dtype, device
        self._object = lm if isinstance(lm, LM) else None

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
