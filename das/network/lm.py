"""LM: a frozen network, its tokenizer, where its blocks are, and how it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError, shown
from das.network.adapter import merged
from das.network.asking import Asking, reads_mask, text_config
from das.network.blocks import find_blocks, unwrapped
from das.network.components import find_tap
from das.network.device import check_dtype, device_of
from das.network.parts import joined
from das.network.quiet import hushed
from das.network.source import (
    auto_class,
    base_network,
    check_whole,
    folder_of,
    hidden_size,
    load_config,
    load_tokenizer,
    pretrained,
)
from das.network.taps import Tap, recording
from das.task.encoded import Encoded
from das.task.rendered import Prompts
from das.task.tokenizer import Tokenizer


@dataclass
class LM:
    """A frozen network that answers prompts: a causal language model, an encoder with a language-model head, an
    encoder–decoder (its blocks are the encoder's), or any module from token ids (rows, length) to logits (rows, vocabulary)
    or (rows, length, vocabulary).

    model: in evaluation mode from now on, its parameters without gradients; taken out of torch.compile, DataParallel and so on.
    asking: how it is asked, which is found by trial.
    """

    model: nn.Module
    tokenizer: Tokenizer
    name: str = "lm"

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise DasError(
                f"LM: the model is {shown(self.model)}: expected a torch.nn.Module; one by name is das.LM.load(name)"
            )
        self.model = unwrapped(self.model)
        self.model.eval().requires_grad_(False)
        self._holder, self._attribute = find_blocks(self.model)
        self._sizes: dict[tuple[str, int], int] = {}
        self.asking = Asking(self.model, self.tokenizer)

    def __repr__(self) -> str:
        return f"LM({self.name!r}, {type(self.model).__name__}, {sum(p.numel() for p in self.model.parameters()):,} parameters)"

    @classmethod
    def load(cls, source: str, dtype: str = "float32", device: str = "auto") -> LM:
        """By name (see `names`), folder (of a network or an adapter), hub id or GGUF file. dtype: `float32`, `bfloat16` or
        `float16`."""
        import transformers

        check_dtype(dtype)
        place = device_of(device)
        if base := base_network(source):
            network = cls.load(base)
            return cls(merged(network.model, folder_of(source)).to(place, getattr(torch, dtype)), network.tokenizer, source)
        tokenizer = load_tokenizer(source)
        loader = getattr(transformers, auto_class(load_config(source)))
        model, read = pretrained(loader, source, "weights", dtype=getattr(torch, dtype), output_loading_info=True)
        check_whole(source, read)
        return cls(model.to(place), tokenizer, source)

    @classmethod
    def skeleton(cls, source: str) -> LM:
        """The network without its weights: enough to find its parts."""
        import transformers

        config = load_config(source)
        try:
            with torch.device("meta"), hushed():
                return cls(getattr(transformers, auto_class(config)).from_config(config, trust_remote_code=False), None, source)
        except ValueError as error:
            raise DasError(f"transformers has no language model for {source!r} ({str(error).splitlines()[0]})") from error

    def like(self, model: nn.Module, name: str) -> LM:
        """Another network of the same shape, asked likewise."""
        return LM(model, self.tokenizer, name)

    # --- its parts ---

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The network's layers, in order; none where it is not made of blocks."""
        blocks: Sequence[nn.Module] = getattr(self._holder, self._attribute) if self._attribute else []
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

    def tap(self, component: str, layer: int) -> Tap:
        """Where a component passes through the network. DasError where there is none."""
        block = self.blocks[layer] if len(self.blocks) else None
        return find_tap(block, self.model, component, layer, self.heads)

    def size(self, component: str, layer: int, prompt: Prompts | None = None) -> int:
        """The length of a component's vectors at one position. prompt: one to try, for networks that take no two tokens."""
        if component == "block_output" and len(self.blocks):
            return self.width
        if (component, layer) not in self._sizes:
            self._sizes[component, layer] = self._tried_size(component, layer, prompt)
        return self._sizes[component, layer]

    def _tried_size(self, component: str, layer: int, prompt: Prompts | None) -> int:
        found: dict[str, Tensor] = {}
        if prompt is None:
            ids = np.array([[1, 1 if self.mask is None else self.mask]], np.int64)
            prompt = Encoded(ids, np.array([2]))
        with torch.no_grad(), recording({component: self.tap(component, layer)}, 1, 1, found):
            self.logits(prompt)
        if component not in found:
            raise DasError(f"component {component!r} of layer {layer} is not run when the network answers a prompt")
        return found[component].shape[-1]

    @property
    def layers(self) -> int:
        """How many layers there are; a network without blocks counts as one."""
        return max(1, len(self.blocks))

    @property
    def width(self) -> int:
        """The size of a hidden state; of a network without a configuration, of its widest parameter."""
        if hasattr(self.model, "config"):
            return hidden_size(self.model.config)
        return max(max(p.shape) for p in self.model.parameters())

    @cached_property
    def heads(self) -> tuple[int, int]:
        """Query heads and key heads."""
        config = text_config(self.model)
        queries = getattr(config, "num_attention_heads", 1)
        return queries, getattr(config, "num_key_value_heads", None) or queries

    @property
    def words(self) -> int:
        """How many tokens it knows."""
        if (find := getattr(self.model, "get_input_embeddings", None)) is not None:
            return int(find().weight.shape[0])
        return next((m.num_embeddings for m in self.model.modules() if isinstance(m, nn.Embedding)), 2)

    @property
    def halves(self) -> bool:
        """Whether it is an encoder and a decoder."""
        return bool(getattr(getattr(self.model, "config", None), "is_encoder_decoder", False))

    @property
    def goes_on(self) -> bool:
        """Whether it goes on from its prompt: it is no encoder, and has none."""
        return not self.halves and self.mask is None

    @property
    def mask(self) -> int | None:
        """The token in whose place an encoder answers; None where it is no encoder."""
        token: int | None = getattr(self.tokenizer, "mask_token_id", None)
        return token if token is not None and reads_mask(self.model) else None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    # --- asking it ---

    def logits(self, prompts: Prompts, copies: int = 1) -> Tensor:
        """Logits (copies · rows, vocabulary) in answer to the prompts, from full forwards: after the last token; at the mask of
        an encoder; at the first token of an encoder–decoder's answer. Prompts of several lengths are padded, or asked one
        length at a time, as `das.network.asking` found right for this network."""
        parts = self.asking.parts(prompts)
        answers = [self.asking.answer(part, copies).unflatten(0, (copies, -1)) for part in parts]
        return joined(parts, answers, 1).flatten(0, 1)
