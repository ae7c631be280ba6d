"""Foreign: subspaces in files, from das or from elsewhere, read as features. Nothing is unpickled but tensors.

What can be read: a folder that `das` wrote (a cell's, or one of `das push`); safetensors with a `basis`, (d, columns); what
pyvene 0.1.8 keeps of a rotated, low-rank rotated or Boundless rotated space, as a state dict (`intkey_….bin`) or the folder
that holds one. pyvene multiplies rows by its weight, so the weight's columns are the basis.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from das.errors import DasError, one_line, shown
from das.find.alignment import Alignment
from das.interchange.feature import Feature
from das.interchange.subspace import Subspace

LOOSE = 1e-3
"""By how much columns may fail to be orthonormal."""


def _files(path: Path) -> list[Path]:
    """What a subspace is read from: the file, or those of a folder of das or pyvene."""
    if path.is_file():
        return [path]
    if (path / "alignment.safetensors").is_file():
        return [path / "alignment.safetensors", path / "card.json"]
    found = sorted(path.glob("intkey_*.bin")) if path.is_dir() else []
    if len(found) == 1:
        return found
    what = f"{len(found)} interventions of pyvene: name the file of one" if found else "no subspace"
    raise DasError(f"{shown(str(path))} holds {what}. Expected alignment.safetensors, intkey_….bin, or such a file itself")


def checksum(path: str | Path) -> str:
    """The first digits of that of what a feature is read from. DasError where there is nothing to read."""
    try:
        return hashlib.sha256(b"".join(file.read_bytes() for file in _files(Path(path)))).hexdigest()[:16]
    except OSError as error:
        raise DasError(f"{path} cannot be read: {error.strerror}") from error


def read_feature(path: str | Path, columns: int | None = None) -> Feature:
    """The feature in a file or folder (see this module). columns: how many of a full rotation's are swapped, where the file
    does not say. DasError where there is none, or its columns are not orthonormal."""
    file = _files(Path(path))[0]
    if file.name == "alignment.safetensors" and (file.parent / "card.json").is_file():
        feature = Alignment.load(file.parent).feature
        return checked(feature, str(path)) if isinstance(feature, Subspace) else feature
    return of_state(_tensors(file), str(path), columns)


def _tensors(file: Path) -> Mapping[str, Tensor]:
    try:
        found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # whatever a file of something else makes the readers say
        raise DasError(f"{file} holds no tensors that can be read ({one_line(error)[:120]})") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DasError(f"{file} holds {shown(type(found).__name__)}: expected a state dict of tensors")
    return found


def of_state(state: Mapping[str, Tensor], where: str, columns: int | None = None) -> Subspace:
    """The subspace that a state dict of pyvene's, or a mapping with a `basis`, holds. Boundless: the columns below its
    boundary, as at a temperature of 0. columns: see `read_feature`."""
    if "basis" in state:
        basis = state["basis"].float()
        basis = basis[:, None] if basis.dim() == 2 else basis
        if basis.dim() != 3:
            raise DasError(f"the basis in {where} has the shape {tuple(basis.shape)}: expected (d, columns)")
        mask = state.get("hard", torch.ones(basis.shape[1:])).float()
        return checked(Subspace(basis, mask), where)
    weight = _weight(state, where)
    count = _count(state, weight.shape, columns, where)
    return checked(Subspace(weight[:, None, :count].clone(), torch.ones(1, count)), where)


def _weight(state: Mapping[str, Tensor], where: str) -> Tensor:
    """The rotation in a state dict, (d, columns): kept as it is, or by torch's orthogonal parametrization."""
    if (plain := state.get("rotate_layer.weight")) is not None:
        return plain.float()
    original = state.get("rotate_layer.parametrizations.weight.original")
    if original is None or original.dim() != 2:
        raise DasError(
            f"{where} holds no rotation of pyvene's: expected rotate_layer.weight, found {', '.join(state) or 'nothing'}"
        )
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.eye(*original.shape))
    parametrizations.orthogonal(layer)
    kept = {
        name.removeprefix("rotate_layer."): value.float() for name, value in state.items() if name.startswith("rotate_layer.")
    }
    try:
        layer.load_state_dict(kept)
    except RuntimeError as error:
        raise DasError(f"the rotation in {where} is not kept as torch keeps one ({one_line(error)[:120]})") from error
    return layer.weight.detach()


def _count(state: Mapping[str, Tensor], shape: Sequence[int], columns: int | None, where: str) -> int:
    """How many of a rotation's columns are swapped."""
    d, known = shape
    if columns is None and "intervention_boundaries" in state:
        share = min(max(float(state["intervention_boundaries"].flatten()[0]), 1e-3), 1.0)
        columns = max(1, math.ceil(share * d - 1e-6))
    partial = state.get("interchange_dim")
    if columns is None and known == d and partial is not None and partial.numel() == 1 and int(partial) < d:
        columns = int(partial)  # all of them is what pyvene writes when nobody has said
    if columns is None and known == d:
        raise DasError(
            f"{where} is a rotation of all {d} entries and does not say how many of its columns are swapped: say how many"
        )
    count = known if columns is None else columns
    if not 1 <= count <= known:
        raise DasError(f"{count} columns of {where} are to be swapped, and it has {known}")
    return count


def checked(subspace: Subspace, where: str) -> Subspace:
    """A subspace from a file. DasError where its columns are not orthonormal, or are no numbers."""
    basis, mask = subspace.basis, subspace.mask
    if basis.shape[1:] != mask.shape or basis[0].numel() > len(basis):
        raise DasError(f"the basis in {where} has the shape {tuple(basis.shape)}, its mask {tuple(mask.shape)}")
    flat = basis.flatten(1).double()
    off = float((flat.T @ flat - torch.eye(flat.shape[1], dtype=torch.double)).abs().max())
    if not off < LOOSE:
        raise DasError(
            f"the columns in {where} are not orthonormal: off by {off:.2g}. A transposed weight, or no rotation at all?"
        )
    return subspace
