"""LM: a frozen network, its tokenizer, where its blocks are, and how it is asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError, shown, unknown
from das.network.adapter import CONFIG, base_of, merged
from das.network.asking import Asking, joined, reads_mask, text_config
from das.network.blocks import find_blocks, unwrapped
from das.network.device import check_dtype, device_of
from das.network.limits import is_encoder
from das.network.named import NAMED
from das.network.quiet import hushed
from das.network.taps import Tap, find_tap, recording
from das.task.prompt import Encoded, Tokenizer

MODELS = Path(__file__).parents[1] / "models"
"""The folder of the networks that ship with das."""


def shipped() -> list[str]:
    """Names of the networks that ship with das."""
    return sorted(path.parent.name for kind in ("config.json", CONFIG) for path in MODELS.glob(f"*/{kind}"))


def names() -> list[str]:
    """Names of all networks that have one: those that ship with das, and those of `das.network.named`."""
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


def weight_files(source: str) -> list[Path]:
    """The files on this machine that a network is read from, tokenizer aside, those of an adapter's base among them; none of
    what has not been downloaded."""
    if base := _base(source):
        return [*_weights_in(_folder(source)), *weight_files(base)]
    target, extra = _where(source)
    if "gguf_file" in extra:
        return [Path(target) / extra["gguf_file"]]
    if not Path(target).is_dir():
        from huggingface_hub import try_to_load_from_cache

        kept = try_to_load_from_cache(target, "config.json")
        return _weights_in(Path(kept).parent) if isinstance(kept, str) else []
    return _weights_in(Path(target))


def _weights_in(folder: Path) -> list[Path]:
    kinds = (".safetensors", ".bin", ".pt")
    return sorted(path for path in folder.iterdir() if path.suffix in kinds or path.name in ("config.json", CONFIG))


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


@hushed()
def _pretrained(loader: Any, source: str, what: str, **options: Any) -> Any:
    target, extra = _where(source)
    try:
        return loader.from_pretrained(target, **extra, **options, trust_remote_code=False)
    except Exception as error:  # whatever the libraries make of a broken file
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DasError(
            f"cannot load the {what} of {source!r} ({lines[0]}). A network's own code is never run. "
            f"Give a folder, a GGUF file (with the package gguf), a hub id or one of: {', '.join(names())}"
        ) from error


def _check_whole(source: str, read: dict[str, Any]) -> None:
    """DasError where the weights' files lack some of the network's tensors: the library would draw them at random."""
    if missing := sorted(map(str, read.get("missing_keys", ()))):
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DasError(
            f"the weights of {source!r} are not whole: {shown} would be drawn at random. Save the network again, whole"
        )


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
        model, read = _pretrained(loader, source, "weights", dtype=getattr(torch, dtype), output_loading_info=True)
        _check_whole(source, read)
        return cls(model.to(place), tokenizer, source)

    @classmethod
    def skeleton(cls, source: str) -> LM:
        """The network without its weights: enough to find its parts."""
        import transformers

        config = load_config(source)
        try:
            with torch.device("meta"), hushed():
                return cls(
                    getattr(transformers, _auto_class(config)).from_config(config, trust_remote_code=False), None, source
                )
        except ValueError as error:
            raise DasError(f"transformers has no language model for {source!r} ({str(error).splitlines()[0]})") from error

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
    def _heads(self) -> tuple[int, int]:
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

    def logits(self, prompts: Encoded, copies: int = 1) -> Tensor:
        """Logits (copies · rows, vocabulary) in answer to the prompts, from full forwards: after the last token; at the mask of
        an encoder; at the first token of an encoder–decoder's answer. Prompts of several lengths are padded, or asked one
        length at a time, as `das.network.asking` found right for this network."""
        parts = self.asking.parts(prompts)
        answers = [self.asking.answer(part, copies).unflatten(0, (copies, -1)) for part in parts]
        return joined(parts, answers, 1).flatten(0, 1)


def hidden_size(config: Any) -> int:
    """The size of a hidden state, from a configuration."""
    return int(config.get_text_config().hidden_size)


def layer_count(config: Any) -> int:
    """The number of layers, from a configuration."""
    return int(config.get_text_config().num_hidden_layers)


def _auto_class(config: Any) -> str:
    """The transformers class that loads the network with its language-model head."""
    if getattr(config, "is_encoder_decoder", False):
        return "AutoModelForSeq2SeqLM"
    return "AutoModelForMaskedLM" if is_encoder(config) else "AutoModelForCausalLM"
