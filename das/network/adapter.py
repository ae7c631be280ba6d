"""Adapters: low-rank changes of a network's weights (LoRA, arXiv 2106.09685), a few MB beside it.

peft reads and trains them; they are merged into the weights before anything is asked, so that an adapted network is a network
like any other.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from das.errors import DasError
from das.network.named import NAMED

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def base_of(folder: str | Path) -> str | None:
    """The network that the adapter in a folder changes, by its name if it has one; None where there is no adapter."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        return None
    base = str(json.loads(path.read_text()).get("base_model_name_or_path"))
    return next((name for name, network in NAMED.items() if network.hub == base), base)


def adapted(model: Any, rank: int, base: str, modules: Sequence[str] | str = "all-linear") -> Any:
    """The network with a fresh adapter on some modules, by default every linear map but the head; nothing else of it will be
    trained."""
    peft = _peft()
    hub = NAMED[base].hub if base in NAMED else base
    model.config._name_or_path = model.name_or_path = hub
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=modules, task_type="CAUSAL_LM")
    with _quiet():
        return peft.get_peft_model(model, config)


def save(model: Any, folder: str | Path) -> None:
    """Writes the adapter alone; peft would look on the hub for the base's configuration, to see whether its words are more,
    and leaves an empty model card."""
    model.save_pretrained(folder, save_embedding_layers=False)
    (Path(folder) / "README.md").unlink(missing_ok=True)


def merged(model: Any, folder: str | Path) -> Any:
    """The network with the adapter of a folder in its weights. DasError where that has no safetensors,
    or where they do not fit."""
    if not (Path(folder) / WEIGHTS).is_file():
        raise DasError(f"the adapter in {folder} has no {WEIGHTS}: save it as safetensors")
    peft = _peft()
    try:
        with _quiet():
            changed = peft.PeftModel.from_pretrained(model, str(folder))
    except Exception as error:  # whatever peft makes of an adapter of another network
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DasError(f"the adapter in {folder} cannot be put into its network ({lines[0]})") from error
    _check_fits(set(peft.get_peft_model_state_dict(changed, save_embedding_layers=False)), Path(folder))
    return changed.merge_and_unload()


def _check_fits(wanted: set[str], folder: Path) -> None:
    """DasError where an adapter's file holds other tensors than the network takes: peft would leave those as they are."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, "pt") as file:
        held = set(file.keys())
    if odd := sorted(wanted ^ held):
        lacking = "lacks" if odd[0] in wanted else "holds, and the network has no place for,"
        raise DasError(f"the adapter in {folder} does not fit its network: it {lacking} {odd[0]} (and {len(odd) - 1} more)")


def _peft() -> Any:
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise DasError("adapters need peft: pip install 'boundless-das[lora]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' notice that peft asks for something by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        warnings.filterwarnings("ignore", message="Found missing adapter keys.*")
        yield
