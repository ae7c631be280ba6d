"""Noise: an engine whose bases read a field only through noise on its embeddings, while sources read it clean."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.errors import DasError
from das.interchange.capture import Capture
from das.interchange.engine import ResumeEngine
from das.network.lm import LM
from das.network.parts import tokens
from das.network.site import Spot
from das.network.taps import Tap, changing
from das.task.encoded import Encoded
from das.task.rendered import Prompts


def ends(field: str) -> list[str]:
    """The positions between which a field's tokens lie."""
    return [f"{field}.first", f"{field}.last"]


class Noised(ResumeEngine):
    """Captured bases have normal noise on the embeddings of a field's tokens (Meng et al. 2022, arXiv 2202.05262); sources and
    clean answers have none.

    sigmas: the noise's standard deviation, in those of the embeddings of the field's tokens in `prompts`. The noise of a prompt
    depends on the seed and on its tokens up to the field's last, so that it is the same in any company. DasError where a
    prompt's field begins in what all prompts begin with.
    """

    def __init__(self, engine: ResumeEngine, field: str, prompts: Prompts, sigmas: float = 3.0, seed: int = 0) -> None:
        super().__init__(engine.lm, engine.prefix)
        self._ends, self._seed, self._table = ends(field), seed, embeddings(engine.lm)
        given = tokens(prompts)
        first, last = self._columns(given)
        if int((first - (given.width - given.lengths)).min()) < len(self.prefix):
            raise DasError(f"{field!r} lies in what all prompts begin with: noise upon it corrupts nothing that differs")
        seen = np.unique(np.concatenate([row[a : b + 1] for row, a, b in zip(given.ids, first, last, strict=True)]))
        self.scale = sigmas * float(self._table(torch.from_numpy(seen).to(self.lm.device)).float().std())

    @torch.no_grad()
    def capture(self, prompts: Prompts, spots: Collection[Spot], resumable: bool = True, first: int = 0) -> Capture:
        """See the engine's: with noise where it is to be resumed."""
        if not resumable:
            return super().capture(prompts, spots, resumable, first)
        noise = self._noise(tokens(prompts))
        with changing(Tap(self._table), lambda seen, _: seen + noise.to(seen)):
            return super().capture(prompts, spots, resumable, first)

    def clean(self, prompts: Prompts) -> Tensor:
        """See the engine's: without noise."""
        logits = super().capture(prompts, []).logits
        assert logits is not None
        return logits

    def _columns(self, prompts: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last column of the field in each prompt."""
        first, last = (prompts.positions[name][:, 0] for name in self._ends)
        return first, last

    def _noise(self, prompts: Encoded) -> Tensor:
        """What is added to the embeddings behind the shared prefix. (rows, columns, d)"""
        offset, width = len(self.prefix), self.lm.width
        added = torch.zeros(len(prompts), prompts.width - offset, width)
        for row, (first, last) in enumerate(zip(*self._columns(prompts), strict=True)):
            read = prompts.ids[row, prompts.width - prompts.lengths[row] : last + 1]
            rng = np.random.default_rng([self._seed, zlib.crc32(read.tobytes())])
            drawn = rng.standard_normal((last + 1 - first, width)) * self.scale
            added[row, first - offset : last + 1 - offset] = torch.from_numpy(drawn)
        return added


def embeddings(lm: LM) -> nn.Module:
    """The module that looks up tokens. DasError where it gives vectors of another width than the layers take."""
    find: Any = lm.model.get_input_embeddings
    table: nn.Module = find()
    if getattr(table, "embedding_dim", lm.width) != lm.width:
        raise DasError(f"{lm.name} embeds tokens in {table.embedding_dim} entries and has layers of {lm.width}")
    return table
