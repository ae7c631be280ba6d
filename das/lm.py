"""LM: a frozen network, its tokenizer, where its blocks are, and how it is asked."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.adapter import CONFIG, base_of, merged
from das.device import device_of
from das.errors import DasError, shown, unknown
from das.named import NAMED
from das.prompt import Encoded, Tokenizer
from das.settings import check_dtype
from das.taps import Tap, find_tap, recording

MODELS = Path(__file__).parent / "models"
"""The folder of the networks that ship with das."""


def shipped() -> list[str]:
    """Names of the networks that ship with das."""
    return sorted(path.parent.name for kind in ("config.json", CONFIG) for path in MODELS.glob(f"*/{kind}"))


def names() -> list[str]:
    """Names of all networks that have one: those that ship with das, and those of `das.named`."""
    return [*shipped(), *NAMED]


def _folder(source: str) -> Path:
    """Where a network lies if it ships with das or is given as a folder."""
    return MODELS / source if source in shipped() else Path(source)


def _base(source: str) -> str | None:
    """The network that `source`, an adapter, changes; None where it is a network itself."""
    return base_of(_folder(source))


def _where(source: str) -> tuple[str, dict[str, Any]]:
    """What to hand to `from_pretrained`: a name, a folder, a GGUF file, else a hub id."""
    if source in NAMED:
        return _elsewhere(source)
    path = _folder(source)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise DasError(f"no GGUF file at {path}")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise DasError(f"folder {path} holds no config.json: expected a saved Hugging Face model")
        return str(path), {}
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DasError(f"no model at {source}: give a folder, a GGUF file, a hub id or one of: {', '.join(names())}")
    if difflib.get_close_matches(source, names(), cutoff=0.8):
        raise unknown("network", source, names())
    return source, {"local_files_only": not _hub_answers()}


def _elsewhere(name: str) -> tuple[str, dict[str, Any]]:
    """Of a named network: the hub's copy if it is in the local cache, else the package's if it is installed, else the hub's,
    which is downloaded. The hub is asked last, so that what is here is found at once and without a network."""
    network = NAMED[name]
    if network.cached:
        return network.hub, {"local_files_only": True}
    if network.file:
        return str(network.file.parent), {"gguf_file": network.file.name}
    if _hub_answers():
        return network.hub, {}
    raise network.absent(name)


@cache
def _hub_answers() -> bool:
    """Whether the hub can be reached; asked once, because huggingface_hub retries for a minute where it cannot."""
    from huggingface_hub import constants
    from huggingface_hub.utils._http import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # whatever its HTTP library raises: there is no hub, then
        return False
    return True


def _pretrained(loader: Any, source: str, what: str, **options: Any) -> Any:
    target, extra = _where(source)
    try:
        return loader.from_pretrained(target, **extra, **options)
    except (OSError, ValueError, ImportError) as error:
        raise DasError(
            f"cannot load the {what} of {source!r} ({str(error).strip().splitlines()[0]}). "
            f"Give a folder, a GGUF file (with the package gguf), a hub id or one of: {', '.join(names())}"
        ) from error


def load_tokenizer(source: str) -> Tokenizer:
    """The tokenizer alone, without weights; it always has a padding token."""
    from transformers import AutoTokenizer

    tokenizer = _pretrained(AutoTokenizer, _base(source) or source, "tokenizer")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_config(source: str) -> Any:
    """The network's configuration alone, without weights; of a named one that is not here, the published one."""
    from transformers import AutoConfig, LlamaConfig

    source = _base(source) or source
    if (network := NAMED.get(source)) and network.shape and not network.cached:
        return LlamaConfig(**network.shape)
    return _pretrained(AutoConfig, source, "configuration")


@contextmanager
def whole_input(model: Any) -> Iterator[None]:
    """Gives a network's head its one position as a tensor of its own: torch multiplies a view of it row by row, many times
    slower."""
    if (head := model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None) is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _module, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


@dataclass
class LM:
    """A frozen network that answers prompts: a causal language model, an encoder with a language-model head, an
    encoder–decoder (its blocks are the encoder's), or any module from token ids (rows, length) to logits (rows, vocabulary)
    or (rows, length, vocabulary).

    model: in evaluation mode from now on, its parameters without gradients.
    """

    model: nn.Module
    tokenizer: Tokenizer
    name: str = "lm"

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise DasError(
                f"LM: the model is {shown(self.model)}: expected a torch.nn.Module; one by name is das.LM.load(name)"
            )
        self.model.eval().requires_grad_(False)
        self._holder, self._attribute = _find_blocks(self.model)
        self._sizes: dict[tuple[str, int], int] = {}
        self._takes = set(inspect.signature(self.model.forward).parameters)

    @classmethod
    def load(cls, source: str, dtype: str = "float32", device: str = "cpu") -> LM:
        """By name (see `names`), folder (of a network or an adapter), hub id or GGUF file. dtype: `float32`, `bfloat16` or
        `float16`."""
        import transformers

        check_dtype(dtype)
        place = device_of(device)
        if base := _base(source):
            network = cls.load(base)
            return cls(merged(network.model, _folder(source)).to(place, getattr(torch, dtype)), network.tokenizer, source)
        tokenizer = load_tokenizer(source)
        loader = getattr(transformers, _auto_class(load_config(source)))
        model = _pretrained(loader, source, "weights", dtype=getattr(torch, dtype))
        return cls(model.to(place), tokenizer, source)

    @classmethod
    def skeleton(cls, source: str) -> LM:
        """The network without its weights: enough to find its parts."""
        import transformers

        config = load_config(source)
        with torch.device("meta"):
            return cls(getattr(transformers, _auto_class(config)).from_config(config), None, source)

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
        return find_tap(block, self.model, component, layer, self._heads)

    def size(self, component: str, layer: int, prompt: Encoded | None = None) -> int:
        """The length of a component's vectors at one position. prompt: one to try, for networks that take no two tokens."""
        if component == "block_output" and len(self.blocks):
            return self.width
        if (component, layer) not in self._sizes:
            self._sizes[component, layer] = self._tried_size(component, layer, prompt)
        return self._sizes[component, layer]

    def _tried_size(self, component: str, layer: int, prompt: Encoded | None) -> int:
        found: dict[str, Tensor] = {}
        prompt = prompt or Encoded(np.ones((1, 2), np.int64), np.array([2]))
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
    def _heads(self) -> tuple[int, int]:
        """Query heads and key heads."""
        config = _text_config(self.model)
        queries = getattr(config, "num_attention_heads", 1)
        return queries, getattr(config, "num_key_value_heads", None) or queries

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    # --- asking it ---

    def logits(self, prompts: Encoded, copies: int = 1) -> Tensor:
        """Logits (copies · rows, vocabulary) in answer to the prompts, from a full forward: after the last token; at the
        mask of an encoder; at the first token of an encoder–decoder's answer."""
        ids = torch.from_numpy(prompts.ids).to(self.device).repeat(copies, 1)
        if "input_ids" not in self._takes:
            return self._answer(self.model(ids), ids)
        place = places(prompts).to(self.device).repeat(copies, 1)
        given = {"attention_mask": (place >= 0).long(), "position_ids": place.clamp(min=0), "use_cache": False}
        if getattr(_text_config(self.model), "is_encoder_decoder", False):
            start = _text_config(self.model).decoder_start_token_id
            given["decoder_input_ids"] = torch.full((len(ids), 1), start, device=self.device)
        known = {name: value for name, value in given.items() if name in self._takes}
        with whole_input(self.model):
            return self._answer(self.model(input_ids=ids, **known, **self.keep_last()), ids)

    def keep_last(self) -> dict[str, int]:
        """Asks for the logits of the last position only, where the network can."""
        return {"logits_to_keep": 1} if "logits_to_keep" in self._takes else {}

    def _answer(self, output: Any, ids: Tensor) -> Tensor:
        logits: Tensor = getattr(output, "logits", output)
        if logits.dim() == 2:
            return logits.float()
        mask = getattr(self.tokenizer, "mask_token_id", None)
        if mask is None or "MaskedLM" not in type(self.model).__name__:
            return logits[:, -1].float()
        return logits[torch.arange(len(ids)), (ids == mask).int().argmax(1)].float()


def places(prompts: Encoded) -> Tensor:
    """(rows, length): each token's place in its prompt, −1 for padding."""
    start = prompts.ids.shape[1] - prompts.lengths
    place = np.arange(prompts.ids.shape[1]) - start[:, None]
    return torch.from_numpy(np.maximum(place, -1))


def hidden_size(config: Any) -> int:
    """The size of a hidden state, from a configuration."""
    return int(config.get_text_config().hidden_size)


def layer_count(config: Any) -> int:
    """The number of layers, from a configuration."""
    return int(config.get_text_config().num_hidden_layers)


def _text_config(model: nn.Module) -> Any:
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _auto_class(config: Any) -> str:
    """The transformers class that loads the network with its language-model head."""
    if getattr(config, "is_encoder_decoder", False):
        return "AutoModelForSeq2SeqLM"
    names = " ".join(getattr(config, "architectures", None) or [])
    return "AutoModelForMaskedLM" if "MaskedLM" in names or "BertForPreTraining" in names else "AutoModelForCausalLM"


def _find_blocks(model: nn.Module) -> tuple[nn.Module, str]:
    """The module that holds the list of layers, and the list's name there; no name where there is no such list."""
    config = _text_config(model)
    layers = getattr(config, "num_hidden_layers", None)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == layers:
            holder, _, name = path.rpartition(".")
            return model.get_submodule(holder), name
    return model, ""
