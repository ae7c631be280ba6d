"""Limits: what a network's configuration says of the prompts that it takes, asked before weights are loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from das.errors import DasError
from das.network.asking import the_mask
from das.network.parts import tokens
from das.task.rendered import Indices, Prompts
from das.task.tokenizer import Tokenizer

FROM_PADDING = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "data2vec-text", "xmod", "longformer",
    "mpnet", "ibert", "esm", "luke", "markuplm", "lilt", "layoutlmv3", "bridgetower_text_model",
)  # fmt: skip
"""Model types that count places from `pad_token_id + 1` on, so that as many fewer tokens fit than there are positions."""


def check_limits(config: Any, asked: Prompts, answers: Indices, tokenizer: Tokenizer) -> None:
    """DasError where a prompt is longer than the network's positions, where a token of a prompt or an answer lies beyond its
    embeddings, or where an encoder is given no place to answer in. config: of the network's language model, or None."""
    prompts = tokens(asked)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if prompts.tail and is_encoder(text):
        raise DasError(
            f"an encoder gives one token in place of its mask, and an answer here has {prompts.steps}: choose answers of one "
            "token, or let the first alone be read: Prompt(…, first_token=True)"
        )
    if getattr(config, "is_encoder_decoder", False):
        prompts = prompts.asked()
    longest, most = int(prompts.lengths.max()), most_tokens(text)
    if most is not None and longest > most:
        raise DasError(f"a prompt has {longest} tokens, and this network takes {most}: shorten the prompts or take another")
    real = np.arange(prompts.ids.shape[1]) >= (prompts.ids.shape[1] - prompts.lengths)[:, None]
    largest, words = int(max(prompts.ids[real].max(), answers.max(initial=0))), getattr(text, "vocab_size", None)
    if isinstance(words, int) and largest >= words:
        raise DasError(
            f"the tokenizer gives token {largest} ({tokenizer.convert_ids_to_tokens(largest)!r}), and this network knows "
            f"tokens 0 to {words - 1}: they do not belong together"
        )
    if is_encoder(text) and getattr(tokenizer, "mask_token_id", None) is not None:
        the_mask(torch.from_numpy(prompts.ids), tokenizer.mask_token_id)


def most_tokens(config: Any) -> int | None:
    """Of the longest prompt that a network takes; None where the configuration sets no limit."""
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most <= 0:
        return None
    return most - ((getattr(config, "pad_token_id", 0) or 0) + 1 if getattr(config, "model_type", "") in FROM_PADDING else 0)


def is_encoder(config: Any) -> bool:
    """Whether a configuration is that of an encoder with a language-model head, which answers in place of a mask."""
    names = " ".join(getattr(config, "architectures", None) or [])
    return not getattr(config, "is_encoder_decoder", False) and ("MaskedLM" in names or "BertForPreTraining" in names)
