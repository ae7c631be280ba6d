"""Covariance: the second moment E[kkᵀ] of the keys of memories (see `das.edit.memory`), over what a network reads.

It says in which directions keys are common, so that an edit can keep out of them (Meng et al. 2022, arXiv 2202.05262, equation
2). Kept by the print of the network and of what was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from das.edit.memory import Memory
from das.errors import DasError
from das.ground import storage
from das.interchange.engine import Engine
from das.network.parts import places, tokens
from das.task.rendered import Prompts

RIDGE = 1e-3
"""Of the mean variance, added to every direction: few tokens leave some without any."""


@dataclass(frozen=True)
class Moment:
    """matrix: E[kkᵀ], (keys, keys), in fp32; tokens: over how many."""

    matrix: Tensor
    tokens: int

    def solve(self, key: Tensor, ridge: float = RIDGE) -> Tensor:
        """(C + ridge · tr(C)/d · I)⁻¹ k, in double precision. key: (keys,)"""
        wide = self.matrix.double()
        wide = wide + ridge * wide.diagonal().mean().clamp(min=1e-30) * torch.eye(len(wide), dtype=wide.dtype)
        found: Tensor = torch.linalg.solve(wide, key.double().cpu())
        return found

    @classmethod
    def none(cls, size: int) -> Moment:
        """As if all directions were as common: what an edit without a covariance goes by."""
        return cls(torch.eye(size), 0)


def second_moments(
    engine: Engine, memories: Sequence[Memory], batches: Iterable[Prompts], cache: Path | None = None, key: str = ""
) -> dict[int, Moment]:
    """Layer → the moment of its keys, over all tokens of the batches, each read once and not held.

    cache: a folder in which moments are kept, by the hash of `key`, which says what the network and the text are; a layer that
    is there is not read for. DasError where a key is no number."""
    found = {m.layer: kept for m in memories if cache and (kept := _read(_path(cache, key, m.layer)))}
    missing = [m for m in memories if m.layer not in found]
    if missing:
        made = _moments(engine, missing, batches)
        for layer, moment in made.items() if cache else ():
            assert cache is not None
            _write(_path(cache, key, layer), moment)
        found |= made
    return {m.layer: found[m.layer] for m in memories}


@torch.no_grad()
def _moments(engine: Engine, memories: Sequence[Memory], batches: Iterable[Prompts]) -> dict[int, Moment]:
    sums, count = dict[int, Tensor](), 0
    for prompts in batches:
        capture = engine.capture(tokens(prompts), [m.key for m in memories], resumable=False)
        rows, columns = (places(prompts) >= 0).nonzero(as_tuple=True)
        count += len(rows)
        for m in memories:
            keys = capture.at(m.key, columns[:, None], rows)[:, 0].float()
            product = (keys.T @ keys).double().cpu()
            sums[m.layer] = sums[m.layer] + product if m.layer in sums else product
    if not count:
        raise DasError("there is nothing to read: a covariance needs a text")
    found = {layer: Moment((each / count).float(), count) for layer, each in sums.items()}
    if bad := [layer for layer, each in found.items() if not bool(each.matrix.isfinite().all())]:
        raise DasError(f"the MLP of layer {bad[0]} has keys that are no numbers")
    return found


def _path(cache: Path, key: str, layer: int) -> Path:
    """A name of hexadecimal digits alone, whatever the key says."""
    return cache / f"{hashlib.blake2b(f'{layer} {key}'.encode(), digest_size=16).hexdigest()}.safetensors"


def _write(path: Path, moment: Moment) -> None:
    held = {"matrix": moment.matrix.contiguous()}
    storage.write(path, lambda made: save_file(held, made, {"tokens": str(moment.tokens)}))


def _read(path: Path) -> Moment | None:
    """What is kept; None where it is not there whole."""
    if not path.is_file() or not storage.intact(path):
        return None
    with safe_open(path, "pt") as file:
        return Moment(file.get_tensor("matrix"), int(file.metadata()["tokens"]))
