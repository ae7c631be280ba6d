"""Matches: on which prompts a network goes on exactly as is wanted, against how much it is steered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import pandas as pd
import torch

from das.errors import DasError, shown
from das.use.asked import Asked, asked
from das.use.generated import Under, continued
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
    direction, length, set and prompt, columns `direction`, `alpha`, `set`, `prompt`, `wanted`, `said`, `match`.

    sets: name → (prompt, wanted) pairs. alphas: lengths along the direction; 0 is without steering. randoms: so many random
    directions beside the `found` one, as long each time. most: tokens that are generated for a prompt; no more are than what
    is wanted has, and one, by which it is seen to end there.
    """
    for name, pairs in sets.items():
        if not pairs or any(not rest.strip() for _, rest in pairs):
            raise DasError(f"the set {name} is {shown(pairs)}: expected pairs of a prompt and what it should go on with")
    each = list(product(_directions(steerer, randoms), alphas))
    rows = []
    for name, pairs in sets.items():
        for tokens, some in _by_length(steerer, pairs).items():
            given = asked([prompt for prompt, _ in some], None, name)
            plain = _said(steerer, given, min(most, tokens))
            for (direction, one), alpha in each:
                steered = under(given, [(one, Way.of({"alpha": alpha, **way}))])
                texts = _said(steerer, given, min(most, tokens), steered) if alpha else plain
                rows += [(direction, alpha, name, *pair, text) for pair, text in zip(some, texts, strict=True)]
    table = pd.DataFrame(rows, columns=["direction", "alpha", "set", "prompt", "wanted", "said"])
    return table.assign(match=[goes_on(*texts) for texts in zip(table["said"], table["wanted"], strict=True)])


def _said(steerer: Steerer, given: Asked, tokens: int, steered: Under | None = None) -> list[str]:
    said = continued(steerer.lm, steerer.encoded(given), tokens, {}, steered)
    return [steerer.lm.tokenizer.decode(ids, skip_special_tokens=True) for ids in said]


def _by_length(steerer: Steerer, pairs: Wanted) -> dict[int, list[tuple[str, str]]]:
    """How many tokens must be generated, that of the next word among them, → the pairs of which it is so many."""
    found: dict[int, list[tuple[str, str]]] = {}
    for prompt, rest in pairs:
        tokens = 1 + len(steerer.lm.tokenizer(" " + rest.strip())["input_ids"])
        found.setdefault(tokens, []).append((prompt, rest))
    return found


def _directions(steerer: Steerer, randoms: int) -> Iterator[tuple[str, Steerer]]:
    yield FOUND, steerer
    for seed in range(randoms):
        feature = steerer.alignment.feature.twin(torch.Generator().manual_seed(seed))
        if feature is None:
            raise DasError(f"beside {steerer.alignment.cell.id} nothing random can be drawn: give randoms=0")
        yield f"random {seed + 1}", replace(steerer, alignment=replace(steerer.alignment, feature=feature))
