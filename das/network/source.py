"""Source: where a network lies, by name, folder, file or hub id, and what is read from there."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any

from das.errors import DasError, nearest, unknown
from das.network.adapter import CONFIG, base_of
from das.network.limits import is_encoder
from das.network.named import NAMED
from das.network.quiet import hushed
from das.task.tokenizer import Tokenizer

MODELS = Path(__file__).parents[1] / "models"
"""The folder of the networks that ship with das."""


def shipped() -> list[str]:
    """Names of the networks that ship with das."""
    return sorted(path.parent.name for kind in ("config.json", CONFIG) for path in MODELS.glob(f"*/{kind}"))


def names() -> list[str]:
    """Names of all networks that have one: those that ship with das, and those of `das.network.named`."""
    return [*shipped(), *NAMED]


def folder_of(source: str) -> Path:
    """Where a network lies if it ships with das or is given as a folder."""
    return MODELS / source if source in shipped() else Path(source)


def base_network(source: str) -> str | None:
    """The network that `source`, an adapter, changes; None where it is a network itself."""
    return base_of(folder_of(source))


def _where(source: str) -> tuple[str, dict[str, Any]]:
    """What to hand to `from_pretrained`: a name, a folder, a GGUF file, else a hub id."""
    if source in NAMED:
        return _elsewhere(source)
    path = folder_of(source)
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
    if not (answers := _hub_answers()) and not _cached(source):
        raise DasError(
            f"there is no folder {source!r} here, and the hub, which might have a network of this id, cannot be reached."
            f"{_meant(source)} Give a folder, a GGUF file or one of: {', '.join(names())}"
        )
    return source, {"local_files_only": not answers}


def _cached(source: str) -> Path | None:
    """The folder of the hub's network on this machine; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        kept = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(kept).parent if isinstance(kept, str) else None


def weight_files(source: str) -> list[Path]:
    """The files on this machine that a network is read from, tokenizer aside, those of an adapter's base among them; none of
    what has not been downloaded."""
    if base := base_network(source):
        return [*_weights_in(folder_of(source)), *weight_files(base)]
    target, extra = _where(source)
    if "gguf_file" in extra:
        return [Path(target) / extra["gguf_file"]]
    there = Path(target) if Path(target).is_dir() else _cached(target)
    return _weights_in(there) if there else []


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
def pretrained(loader: Any, source: str, what: str, **options: Any) -> Any:
    target, extra = _where(source)
    try:
        return loader.from_pretrained(target, **extra, **options, trust_remote_code=False)
    except Exception as error:  # whatever the libraries make of a broken file
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DasError(
            f"cannot load the {what} of {source!r} ({lines[0]}).{_meant(source)} A network's own code is never run. "
            f"Give a folder, a GGUF file (with the package gguf), a hub id or one of: {', '.join(names())}"
        ) from error


def _meant(source: str) -> str:
    """Whether another network was meant, of those that have a name, or lie in the same folder or in one here."""
    folders = Path(source).parent, *Path().glob("[!.]*/")
    beside = sorted({path.parent for kind in ("config.json", CONFIG) for f in folders for path in f.glob(f"*/{kind}")})
    return nearest(source, [*names(), *map(str, beside)]).replace(" did", " Did")


def check_whole(source: str, read: dict[str, Any]) -> None:
    """DasError where the weights' files lack some of the network's tensors: the library would draw them at random."""
    if missing := sorted(map(str, read.get("missing_keys", ()))):
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DasError(
            f"the weights of {source!r} are not whole: {shown} would be drawn at random. Save the network again, whole"
        )


def load_tokenizer(source: str) -> Tokenizer:
    """The tokenizer alone, without weights; it always has a padding token."""
    from transformers import AutoTokenizer

    tokenizer = pretrained(AutoTokenizer, base_network(source) or source, "tokenizer")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_config(source: str) -> Any:
    """The network's configuration alone, without weights; of a named one that is not here, the published one."""
    from transformers import AutoConfig, LlamaConfig

    source = base_network(source) or source
    if (network := NAMED.get(source)) and network.shape and not network.cached:
        return LlamaConfig(**network.shape)
    return pretrained(AutoConfig, source, "configuration")


def hidden_size(config: Any) -> int:
    """The size of a hidden state, from a configuration."""
    return int(config.get_text_config().hidden_size)


def layer_count(config: Any) -> int:
    """The number of layers, from a configuration."""
    return int(config.get_text_config().num_hidden_layers)


def auto_class(config: Any) -> str:
    """The transformers class that loads the network with its language-model head."""
    if getattr(config, "is_encoder_decoder", False):
        return "AutoModelForSeq2SeqLM"
    return "AutoModelForMaskedLM" if is_encoder(config) else "AutoModelForCausalLM"
