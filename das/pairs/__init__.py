"""Pairs: what is asked: counterfactual pairs of prompts with their labels, what they can tell apart, and the same as tokens."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "pairs": "Pairs Family FAMILIES make_pairs split_pools",
        "dataset": "Dataset Labelled",
    },
)
