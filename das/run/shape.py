"""Shape: what a network's shape says of its arithmetic, forward, for one token and for one row."""

from __future__ import annotations

from typing import Any

from das.network.site import Site


def key_heads(config: Any) -> int:
    """Heads of keys and values."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def layer_weights(config: Any) -> int:
    """Numbers in the matrices of one layer."""
    d = config.hidden_size
    heads, groups = config.num_attention_heads, key_heads(config)
    inner = getattr(config, "intermediate_size", None) or 4 * d
    gates = 3 if getattr(config, "hidden_act", "") in ("silu", "gelu_pytorch_tanh") else 2
    weights: int = round(2 * d * d + 2 * d * d * groups / heads + gates * d * inner)
    return weights


def layer_flops(config: Any, seen: float = 0.0) -> float:
    """Floating-point operations of one token through one layer: two per weight, and four per entry of a hidden state for each
    token that attention looks at. seen: how many these are."""
    return 2.0 * layer_weights(config) + 4.0 * seen * int(config.hidden_size)


def head_flops(config: Any) -> float:
    """Of one token through the head."""
    return 2.0 * int(config.hidden_size) * int(config.vocab_size)


def layers_above(config: Any, site: Site) -> int:
    """Layers that a swap at a site changes."""
    return int(config.num_hidden_layers) - site.entry


def site_flops(config: Any, site: Site, suffix: int, seen: float = 0.0) -> float:
    """Of one row through the layers above a site, the last for one token, and the head. suffix: tokens from the site on."""
    above = layers_above(config, site)
    token_layers = max(0, above - 1) * suffix + (suffix / 4 + 1 if above else 0)
    return float(token_layers * layer_flops(config, seen) + head_flops(config))
