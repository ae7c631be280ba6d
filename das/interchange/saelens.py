"""SAELens: sparse autoencoders in the folders in which the package of that name keeps them, read and written without it.

A folder has `sae_weights.safetensors` (`W_enc` (d, latents), `b_enc`, `W_dec` (latents, d), `b_dec`, of JumpReLU `threshold`)
and `cfg.json`, in which versions before 6 put all keys side by side and later ones those about the network under `metadata`.
What would change a figure and is not known here is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from das.errors import DasError, one_line, shown
from das.interchange.sae import SAE
from das.network.site import Site, Spot

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"

LAYOUT = "6.12.1"
"""The version of SAELens in whose layout folders are written."""

ARCHITECTURES = "standard", "topk", "jumprelu"

HOOKS = {
    "block_output": "hook_resid_post", "attention_output": "hook_attn_out", "mlp_output": "hook_mlp_out",
    "mlp_neurons": "mlp.hook_post", "heads": "attn.hook_z", "query": "attn.hook_q", "key": "attn.hook_k",
    "value": "attn.hook_v",
}  # fmt: skip
"""Component → what TransformerLens calls it within `blocks.N`."""


@dataclass(frozen=True)
class Kept:
    """What a folder holds: the dictionary, the spot whose vectors it is of, as far as the folder says that, and the rest of
    what is said about it."""

    sae: SAE
    spot: Spot | None
    about: Mapping[str, Any] = field(default_factory=dict)

    def check_site(self, site: Site, name: str) -> None:
        """DasError where a site has not one place, or one of another spot. name: of the dictionary."""
        places = {place.spot for pair in site.pairs for place in pair}
        if len(site.pairs) > 1:
            raise DasError(f"{name} is of the vectors of one place, and {site} has several: give sites of one place")
        if self.spot and places != {self.spot}:
            component, layer = self.spot
            raise DasError(
                f"{name} is of {component} of layer {layer}, and a site is {site}: give layers: [{layer}] and components: "
                f"[{component}]"
            )


def hook_of(spot: Spot) -> str:
    """The name of a spot in TransformerLens; of what has none there, the component's own."""
    component, layer = spot
    return f"blocks.{layer}.{HOOKS[component]}" if component in HOOKS else component.replace("{layer}", str(layer))


def spot_of(hook: str) -> Spot | None:
    """The spot that has a name in TransformerLens; None where there is none. What a layer reads, the one below hands on."""
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    names = {name: component for component, name in HOOKS.items()}
    if found and found[2] == "hook_resid_pre" and int(found[1]):
        return "block_output", int(found[1]) - 1
    return (names[found[2]], int(found[1])) if found and found[2] in names else None


# --- reading ---


def read(folder: str | Path) -> Kept:
    """What a folder holds. DasError where it is no such folder, or something that is not known here."""
    folder = Path(folder)
    config, tensors = _config(folder), _tensors(folder / WEIGHTS)
    about = config | config.get("metadata", {})
    _check_config(config, about, folder)
    architecture, k = _architecture(config, folder)
    needed = ["W_enc", "W_dec", "b_dec", "b_enc", *(["threshold"] if architecture == "jumprelu" else [])]
    _check_tensors(tensors, needed, folder)
    own = {name: tensors[name].float() for name in needed}
    norms = own["W_dec"].norm(dim=1).clamp(min=1e-8) if config.get("rescale_acts_by_decoder_norm") else torch.ones(1)
    sae = SAE(
        own["W_enc"] * norms, own["b_enc"] * norms, own["W_dec"] / norms[:, None], own["b_dec"], own.get("threshold"), k,
        bool(config.get("apply_b_dec_to_input", True)),
    )  # fmt: skip
    if k > sae.latents:
        raise DasError(f"{folder / CONFIG} has k = {k}, and there are {sae.latents} latents")
    return Kept(sae, _spot(about), about)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError as error:
        raise DasError(f"{shown(str(folder))} holds no dictionary: expected a folder with {CONFIG} and {WEIGHTS}") from error
    except (OSError, ValueError) as error:
        raise DasError(f"{folder / CONFIG} cannot be read ({one_line(error)[:120]})") from error
    if not isinstance(config, dict) or not isinstance(config.get("metadata", {}), dict):
        raise DasError(f"{folder / CONFIG} is not the configuration of a dictionary: expected a mapping")
    return config


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # whatever a file of something else makes the reader say
        raise DasError(f"{path} holds no tensors that can be read ({one_line(error)[:120]})") from error


def _check_config(config: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> None:
    """DasError for what changes activations and is not done here."""
    scaled = config.get("normalize_activations", "none")
    if scaled not in ("none", None, False):
        raise DasError(
            f"{folder} is of activations that were normalised ({shown(scaled)}) and not of the network's own: expected "
            "normalize_activations: none. SAELens folds a constant factor into the weights by "
            "fold_activation_norm_scaling_factor"
        )
    processed = about.get("model_from_pretrained_kwargs") or {}
    if isinstance(processed, Mapping) and (centred := [name for name, on in processed.items() if on and "center" in name]):
        raise DasError(f"{folder} is of a network whose weights were changed ({', '.join(centred)}), and here networks are not")
    heads = [about[name] for name in ("hook_head_index", "hook_point_head_index") if about.get(name) is not None]
    if heads:
        raise DasError(f"{folder} is of head {shown(heads[0])} alone: expected the vectors of all heads")


def _architecture(config: Mapping[str, Any], folder: Path) -> tuple[str, int]:
    """Its name, and TopK's k. Older versions say TopK as an activation function."""
    name, options = config.get("architecture", "standard"), config.get("activation_fn_kwargs") or {}
    function = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    if function == "topk":
        name = "topk"
    elif function != "relu":
        raise DasError(f"{folder} has the activation {shown(function)}: expected relu or topk")
    if name not in ARCHITECTURES:
        raise DasError(f"{folder} has the architecture {shown(name)}: expected one of {', '.join(ARCHITECTURES)}")
    k = config.get("k", options.get("k")) if name == "topk" else 0
    if not isinstance(k, int) or (name == "topk" and k < 1):
        raise DasError(f"{folder / CONFIG} does not say k, how many latents are active at once")
    return name, k


def _check_tensors(tensors: Mapping[str, Tensor], needed: list[str], folder: Path) -> None:
    """DasError where a tensor is missing, has another shape, or does something that is not done here."""
    if missing := [name for name in needed if name not in tensors]:
        raise DasError(f"{folder / WEIGHTS} lacks {', '.join(missing)}; it has {', '.join(sorted(tensors))}")
    extra = [n for n in tensors.keys() - needed if not (n == "scaling_factor" and bool((tensors[n] == 1).all()))]
    if extra:
        raise DasError(f"{folder / WEIGHTS} has {', '.join(sorted(extra))} too, which this kind of dictionary does not use")
    shape = tensors["W_enc"].shape
    if len(shape) != 2:
        raise DasError(f"W_enc in {folder / WEIGHTS} has the shape {tuple(shape)}: expected (entries, latents)")
    d, latents = shape
    shapes = {"W_enc": (d, latents), "W_dec": (latents, d), "b_dec": (d,), "b_enc": (latents,), "threshold": (latents,)}
    for name in needed:
        if tuple(tensors[name].shape) != shapes[name]:
            raise DasError(f"{name} in {folder / WEIGHTS} has the shape {tuple(tensors[name].shape)}: expected {shapes[name]}")
        if not bool(tensors[name].isfinite().all()):
            raise DasError(f"{name} in {folder / WEIGHTS} has entries that are no numbers")


def _spot(about: Mapping[str, Any]) -> Spot | None:
    if "component" in about and isinstance(about.get("layer"), int):  # as it is written here
        return str(about["component"]), about["layer"]
    return spot_of(str(about.get("hook_name", about.get("hook_point", ""))))


# --- writing ---


def write(folder: Path, sae: SAE, spot: Spot, about: Mapping[str, Any] | None = None) -> None:
    """Writes a dictionary of all its latents into a folder, which is made if it is not there. about: what is known of it, as
    JSON can hold it."""
    assert sae.kept is None
    folder.mkdir(parents=True, exist_ok=True)
    own = {"W_enc": sae.encoder, "b_enc": sae.bias, "W_dec": sae.decoder, "b_dec": sae.centre}
    own |= {} if sae.threshold is None else {"threshold": sae.threshold}
    save_file({name: tensor.float().cpu().contiguous() for name, tensor in own.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(_written(sae, spot, about or {}), indent=1) + "\n")


def _written(sae: SAE, spot: Spot, about: Mapping[str, Any]) -> dict[str, Any]:
    component, layer = spot
    of = {"hook_name": hook_of(spot), "component": component, "layer": layer, "sae_lens_version": LAYOUT}
    name = "topk" if sae.k else "standard" if sae.threshold is None else "jumprelu"
    return {
        "architecture": name, "d_in": sae.width, "d_sae": sae.latents, **({"k": sae.k} if sae.k else {}), "dtype": "float32",
        "device": "cpu", "apply_b_dec_to_input": sae.centred, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": of | dict(about),
    }  # fmt: skip
