"""Tokenizers for networks that are trained or built here: words, numbers, punctuation marks and line ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Tokenizer = Any
"""A fast Hugging Face tokenizer (it must give character offsets)."""


def make_tokenizer(texts: Sequence[str], whole_numbers: bool = False) -> Tokenizer:
    """A tokenizer of words, numbers (by digit, or whole), punctuation marks and line ends that knows exactly `texts`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<s>"]
    number = r"\d+" if whole_numbers else r"\d"
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(Regex(rf"{number}|\n|[^\W\d]+|[^\w\s]"), "isolated"),
        ]
    )
    chunks = {chunk for text in texts for chunk in text.split(" ")}  # texts of a task share most of theirs
    words = sorted({piece for chunk in chunks for piece, _ in split.pre_tokenize_str(chunk)})
    vocabulary = {word: index for index, word in enumerate(special + words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", vocabulary["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", padding_side="left"
    )
