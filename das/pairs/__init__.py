"""Pairs: what is asked: counterfactual pairs of prompts with their labels, what they can tell apart, and the same as tokens."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "families": "Family FAMILIES match check_families",
        "pairs": "Pairs",
        "pools": "split_pools",
        "drawer": "make_pairs",
        "dataset": "Dataset Labelled",
    },
)
