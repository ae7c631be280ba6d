"""Blocks: which of a network's modules are its layers, told by what they hold, whatever the network calls them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from das.network.asking import text_config
from das.network.taps import first_tensor

WRAPPERS = ("_orig_mod", "module")
"""Where `torch.compile` and `DataParallel` keep the network that they run."""


def unwrapped(model: Any) -> nn.Module:
    """The network itself, without what only runs it otherwise: torch.compile, DataParallel, peft's LoRA (whose changes are in
    the network's own modules). A wrapper that changes the prompt, such as a learned prefix, stays."""
    while True:
        inner = next((model._modules[name] for name in WRAPPERS if list(model._modules) == [name]), None)
        if inner is None and hasattr(model, "get_base_model") and not model.active_peft_config.is_prompt_learning:
            inner = model.get_base_model()
        if inner is None or inner is model:
            plain: nn.Module = model
            return plain
        model = inner


def find_blocks(model: nn.Module) -> tuple[nn.Module, str]:
    """The module that holds the list of layers, and the list's name there; no name where there is no such list.

    Of several lists that are long enough, the first of the text network whose members hand on to each other what they were
    given when a text was read: not a vision tower, and not a list of parts of which each layer takes one.
    """
    lists = _lists(model)
    if len(lists) > 1:
        lists = _chained(model, lists)
    for path in lists[:1]:
        holder, _, name = path.rpartition(".")
        return model.get_submodule(holder), name
    return model, ""


def _lists(model: nn.Module) -> list[str]:
    """Paths of the lists that have as many members as the text network has layers."""
    layers = getattr(text_config(model), "num_hidden_layers", None)
    return [path for path, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == layers]


def _chained(model: nn.Module, lists: Sequence[str]) -> list[str]:
    """Those of some lists whose members are run on a text, each on what the one before it gave; where that cannot be tried
    (the network has no weights), those that lie in no part with a configuration of its own, such as a vision tower."""
    given: dict[nn.Module, Tensor] = {}
    gave: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        tensor = first_tensor(args or tuple(kwargs.values()))
        if tensor is not None and (handed := first_tensor(output)) is not None:
            given[module], gave[module] = tensor.detach().clone(), handed.detach().clone()

    blocks: dict[str, list[nn.Module]] = {path: list(model.get_submodule(path).children()) for path in lists}
    try:
        with torch.no_grad(), ExitStack() as stack:
            for module in {m for some in blocks.values() for m in some}:
                stack.callback(module.register_forward_hook(note, with_kwargs=True).remove)
            _read_a_text(model)
        return [path for path, some in blocks.items() if _chain(some, given, gave)]
    except Exception:  # whatever a network without weights raises
        return [path for path in lists if _in_text(model, path)]


def _read_a_text(model: Any) -> None:
    device = next(model.parameters()).device
    ids = torch.arange(3, 7, device=device)[None] % model.get_input_embeddings().weight.shape[0]
    decoder = {"decoder_input_ids": ids[:, :1]} if getattr(model.config, "is_encoder_decoder", False) else {}
    model(input_ids=ids, **decoder)


def _chain(blocks: Sequence[nn.Module], given: dict[nn.Module, Tensor], gave: dict[nn.Module, Tensor]) -> bool:
    if not all(block in gave for block in blocks):
        return False
    pairs = [(gave[below], given[above]) for below, above in pairwise(blocks)]
    return all(a.shape == b.shape and bool(torch.equal(a, b)) for a, b in pairs)


def _in_text(model: nn.Module, path: str) -> bool:
    """Whether the nearest module above a path that has a configuration has the network's own or its text network's."""
    known = {type(getattr(model, "config", None)), type(text_config(model))}
    while path:
        path = path.rpartition(".")[0]
        if (config := getattr(model.get_submodule(path), "config", None)) is not None:
            return type(config) in known
    return True
