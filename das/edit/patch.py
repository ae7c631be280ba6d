"""Patch: a change of a few matrices of a network, a small file beside it, that can be put in and taken out bit by bit.

What a sum has rounded away no subtraction brings back; so the matrix as it was is kept, and put back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from das.errors import DasError, one_line
from das.ground import storage
from das.network.lm import LM

FORMAT = "das patch 1"


def printed(matrix: Tensor) -> str:
    """The print of a matrix' values, whatever their type: of equal numbers it is the same."""
    values = matrix.detach().float().contiguous().cpu()
    done = hashlib.blake2b(repr(tuple(values.shape)).encode(), digest_size=16)
    done.update(values.view(torch.uint8).numpy().tobytes())
    return done.hexdigest()


@dataclass(frozen=True)
class Change:
    """What is added to a matrix (rows, columns), as it is kept in the network: left rightᵀ, left (rows, r) and right (columns,
    r); or left alone, (rows, columns). before, after: the print of the matrix that it was made for, and of what it becomes."""

    left: Tensor
    right: Tensor | None
    before: str
    after: str

    @classmethod
    def of(cls, matrix: Tensor, left: Tensor, right: Tensor | None = None) -> Change:
        """Of a matrix as it is now."""
        left, right = left.detach().float().cpu(), None if right is None else right.detach().float().cpu()
        made = cls(left, right, printed(matrix), "")
        return cls(left, right, made.before, printed(made.of_matrix(matrix)))

    @property
    def delta(self) -> Tensor:
        """What is added, (rows, columns), in fp32."""
        return self.left if self.right is None else self.left @ self.right.T

    @property
    def rank(self) -> int:
        """The most that the change's rank can be."""
        return min(self.left.shape) if self.right is None else self.right.shape[1]

    def of_matrix(self, matrix: Tensor) -> Tensor:
        """What becomes of a matrix: the sum in fp32, rounded to the matrix' type."""
        if matrix.shape != self.delta.shape:
            raise DasError(f"a patch of {tuple(self.delta.shape)} does not fit a matrix of {tuple(matrix.shape)}")
        return (matrix.detach().float() + self.delta.to(matrix.device)).to(matrix.dtype)


@dataclass(frozen=True)
class Patch:
    """changes: for each matrix, by the name of the parameter, one change after another. about: what was edited, as plain
    data."""

    changes: Mapping[str, Sequence[Change]]
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def compose(cls, patches: Sequence[Patch]) -> Patch:
        """Several as one, in their order. Each was made for the same weights, or upon those before it. DasError otherwise."""
        changes: dict[str, list[Change]] = {}
        for patch in patches:
            for name, some in patch.changes.items():
                for each in some:
                    mine = changes.setdefault(name, [])
                    if mine and each.before not in (mine[0].before, mine[-1].after):
                        raise DasError(f"{_of(patch)} was made for another {name} than {_of(patches[0])}: {_MATCH}")
                    mine.append(each)
        return cls(changes, {"patches": [dict(patch.about) for patch in patches]})

    # --- in a network ---

    def apply(self, lm: LM, anyway: bool = False) -> Applied:
        """Changes the network's own weights until `undo` of what it returns. anyway: other weights than those that it was made
        for, too. DasError where they do not fit."""
        parameters = dict(lm.model.named_parameters())
        for name, some in self.changes.items():
            if name not in parameters:
                raise DasError(f"{lm.name} has no parameter {name}: {_of(self)} was made for another network")
            self.check(name, some, parameters[name], lm.name, anyway)
        kept = {name: parameters[name].detach().clone() for name in self.changes}
        made = {name: self.changed(kept[name], name) for name in self.changes}
        return Applied({name: parameters[name] for name in self.changes}, kept, made)

    @contextmanager
    def applied(self, lm: LM, anyway: bool = False) -> Iterator[LM]:
        """The network with the patch, for the time of a `with` block."""
        held = self.apply(lm, anyway)
        try:
            yield lm
        finally:
            held.undo()

    def changed(self, matrix: Tensor, name: str) -> Tensor:
        """What becomes of a matrix of that name."""
        for each in self.changes[name]:
            matrix = each.of_matrix(matrix)
        return matrix

    def check(self, name: str, some: Sequence[Change], matrix: Tensor, where: str, anyway: bool) -> None:
        """DasError unless a matrix is the one that the changes were made for."""
        if tuple(matrix.shape) != tuple(some[0].delta.shape):
            raise DasError(f"{name} of {where} has shape {tuple(matrix.shape)}, {_of(self)} {tuple(some[0].delta.shape)}")
        if not anyway and printed(matrix) != some[0].before:
            raise DasError(f"{name} of {where} is not the matrix that {_of(self)} was made for: {_MATCH}")

    # --- as a file ---

    def to_bytes(self) -> bytes:
        """As a file: the same patch, the same bytes."""
        tensors, changes = dict[str, Tensor](), list[dict[str, str]]()
        for name, some in self.changes.items():
            for each in some:
                at = str(len(changes))
                tensors |= {f"{at}.left": each.left.contiguous()}
                tensors |= {} if each.right is None else {f"{at}.right": each.right.contiguous()}
                changes.append({"parameter": name, "before": each.before, "after": each.after})
        said = {"format": FORMAT, "changes": changes, "about": dict(self.about)}
        return bytes_of(tensors, {"das": json.dumps(said, sort_keys=True, ensure_ascii=False)})

    def save(self, path: str | Path) -> Path:
        """Writes it as one safetensors file."""
        to = Path(path)
        storage.write(to, lambda made: made.write_bytes(self.to_bytes()))
        return to

    @classmethod
    def load(cls, path: str | Path) -> Patch:
        """What `save` wrote; DasError where it is no patch."""
        try:
            return cls.of_bytes(storage.read(Path(path)))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DasError(f"{path} is no patch of das ({one_line(error)[:120]}): expected what `das edit` writes") from error

    @classmethod
    def of_bytes(cls, body: bytes) -> Patch:
        """Of a file's bytes; ValueError, KeyError or the like for any other."""
        said = json.loads(json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]["das"])
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']}")
        tensors, changes = tensors_of(body), dict[str, list[Change]]()
        for at, each in enumerate(said["changes"]):
            made = Change(tensors[f"{at}.left"], tensors.get(f"{at}.right"), each["before"], each["after"])
            changes.setdefault(each["parameter"], []).append(made)
        return cls(changes, said["about"])


_MATCH = "patches fit the weights that they were made for, and those upon which they were made"


def _of(patch: Patch) -> str:
    return f"the patch {patch.about['edit']!r}" if "edit" in patch.about else "the patch"


class Applied:
    """A patch in a network's weights."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> None:
        self._parameters, self._kept, self._made = parameters, kept, made
        self._write(made)

    def undo(self) -> None:
        """Puts the weights back as they were, bit by bit. DasError where something else has changed them since."""
        for name, parameter in self._parameters.items():
            if not torch.equal(parameter.detach(), self._made[name]):
                raise DasError(f"{name} is no longer what the patch made of it: undo first what was changed after it")
        self._write(self._kept)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
