"""Matches: on which prompts a network goes on exactly as is wanted, against how much it is steered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch

from das.errors import DasError, shown
from das.use.asked import asked
from das.use.generated import continued
from das.use.steerer import Steerer, under
from das.use.way import Way

FOUND = "found"

Wanted = Sequence[tuple[str, str]]
"""Prompts, and the text that each should go on with."""


def goes_on(text: str, wanted: str) -> bool:
    """Whether a text begins with what is wanted: to the letter, blanks before it aside, with no longer word in its place."""
    begins, rest = text.lstrip(), wanted.lstrip()
    return begins.startswith(rest) and not begins[len(rest) : len(rest) + 1].isalnum()


def matches(
    steerer: Steerer, sets: Mapping[str, Wanted], alphas: Sequence[float], *, randoms: int = 3, most: int = 24, **way: object
) -> pd.DataFrame:  # fmt: skip
    """Which prompts are gone on from as is wanted, greedily, when a direction is added (`das.use.steer.steer`): a row per
    direction, length, set and prompt, columns `direction`, `alpha`, `set`, `prompt`, `said`, `match`.

    sets: name → (prompt, wanted) pairs. alphas: lengths along the direction; 0 is without steering. randoms: so many random
    directions beside the `found` one, as long each time. most: tokens that are generated, where what is wanted has no fewer.
    """
    for name, pairs in sets.items():
        if not pairs or any(not rest.strip() for _, rest in pairs):
            raise DasError(f"the set {name} is {shown(pairs)}: expected pairs of a prompt and what it should go on with")
    rows = []
    for name, pairs in sets.items():
        given = asked([prompt for prompt, _ in pairs], None, name)
        encoded, tokens = steerer.encoded(given), min(most, 1 + _longest(steerer, pairs))
        plain = continued(steerer.lm, encoded, tokens, {})
        for direction, one in _directions(steerer, randoms):
            for alpha in alphas:
                how = [(one, Way.of({"alpha": alpha, **way}))]
                said = continued(steerer.lm, encoded, tokens, {}, under(given, how)) if alpha else plain
                texts = [steerer.lm.tokenizer.decode(ids, skip_special_tokens=True) for ids in said]
                for (prompt, rest), text in zip(pairs, texts, strict=True):
                    rows.append((direction, alpha, name, prompt, text, goes_on(text, rest)))
    return pd.DataFrame(rows, columns=["direction", "alpha", "set", "prompt", "said", "match"])


def _longest(steerer: Steerer, pairs: Wanted) -> int:
    return max(len(steerer.lm.tokenizer(" " + rest.strip())["input_ids"]) for _, rest in pairs)


def _directions(steerer: Steerer, randoms: int) -> Iterator[tuple[str, Steerer]]:
    yield FOUND, steerer
    for seed in range(randoms):
        feature = steerer.alignment.feature.twin(torch.Generator().manual_seed(seed))
        if feature is None:
            raise DasError(f"beside {steerer.alignment.cell.id} nothing random can be drawn: give randoms=0")
        yield f"random {seed + 1}", replace(steerer, alignment=replace(steerer.alignment, feature=feature))
