"""Contrast: a change of vectors that is read from two prompts beside, while text is generated (contrast vectors of Zou et al.
2023, arXiv 2310.01405, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.errors import DasError
from das.interchange.engine import HookEngine
from das.interchange.following import beside
from das.interchange.steering import Under
from das.network.lm import LM
from das.network.site import Spot
from das.task.encoded import Encoded
from das.task.rendered import Indices


class Contrast:
    """α·(h⁺ − h⁻): the difference of what two prompts, each with the text so far after it, have where the next token is made.
    The network is asked for it unsteered, from the beginning at every forward.

    plus, minus: for each prompt, or one for all, token ids.
    """

    def __init__(self, lm: LM, spots: Sequence[Spot], plus: Sequence[Indices], minus: Sequence[Indices], alpha: float) -> None:
        self._lm, self._spots, self._prompts, self._alpha = lm, spots, (plus, minus), alpha
        self._found: dict[Spot, Tensor] = {}

    def begin(self, now: Under) -> None:
        self._found = {}
        if not bool(now.here.any()):
            return
        rows, begun = len(now.call.ids), now.begun
        if begun is None or begun.text is None or len(begun.ids) != rows:
            raise DasError("contrast vectors go with one text to a prompt: no beams, and no several answers to one")
        if any(len(each) not in (1, rows) for each in self._prompts):
            raise DasError(f"there are {rows} prompts in a call: give one pair of contrasting prompts for all, or one for each")
        said = begun.text[:, begun.ids.shape[1] :].cpu().numpy()
        plus, minus = (self._asked(list(each) * (rows // len(each)), said) for each in self._prompts)
        numbers = now.numbers.clamp(min=0)[..., None]
        for spot in self._spots:
            difference = self._alpha * (plus[spot] - minus[spot])
            self._found[spot] = difference.take_along_dim(numbers.to(difference.device), 1)

    def _asked(self, prompts: Sequence[Indices], said: Any) -> dict[Spot, Tensor]:
        """What prompts followed by a text have at their last token and at those of the text, (rows, 1 + text, size)."""
        texts = [np.concatenate([prompt, more]) for prompt, more in zip(prompts, said, strict=True)]
        lengths, tail = np.array(list(map(len, texts))), 1 + said.shape[1]
        ids = np.stack([np.pad(text, (lengths.max() - len(text), 0)) for text in texts])
        first = int(lengths.max()) - tail
        columns = torch.arange(first, int(lengths.max())).expand(len(ids), -1)
        with torch.no_grad(), beside(self._lm.model):
            capture = HookEngine(self._lm).capture(Encoded(ids, lengths), self._spots, first=first)
        return {spot: capture.at(spot, columns).float() for spot in self._spots}

    def change(self, spot: Spot, held: Tensor, now: Under) -> Tensor:
        return self._found[spot]
