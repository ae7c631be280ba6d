"""Files: patches put into a saved network's own files, and taken out again, byte by byte.

Only the bytes of the changed matrices are written; what they were before is kept beside them, so that any patch can be taken
out, the last or another, and the files are then what they would be had it never been put in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from das.edit.patch import Patch
from das.errors import DasError, shown
from das.ground import storage
from das.network.lm import LM
from das.network.source import base_network, folder_of

EDITS = "edits"
"""The folder in a network's folder in which patches and what was there before them are kept."""

ORIGINALS = "originals.safetensors"

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""As safetensors calls them."""


def patch_folder(folder: str | Path, patches: Sequence[Patch]) -> None:
    """Puts patches into the safetensors files of a saved network, after those that are in it already. DasError where they were
    made for other weights."""
    path, before = Path(folder), patches_in(folder)
    Patch.compose([*before, *patches])
    _rewrite(path, [*before, *patches])


def undo_folder(folder: str | Path, number: int | None = None) -> None:
    """Takes a patch out again, by its number from 0, by default the last one."""
    path, before = Path(folder), patches_in(folder)
    if not before:
        raise DasError(f"{folder} holds no patches: there is nothing to undo")
    number = len(before) - 1 if number is None else number
    if not 0 <= number < len(before):
        raise DasError(f"there is no patch {shown(number)} in {folder}: it holds 0 to {len(before) - 1}")
    _rewrite(path, [patch for i, patch in enumerate(before) if i != number])


def patches_in(folder: str | Path) -> list[Patch]:
    """The patches that a folder's files hold, in order."""
    return [Patch.load(path) for path in _numbered(Path(folder))]


def _numbered(folder: Path) -> list[Path]:
    return sorted((folder / EDITS).glob("[0-9][0-9][0-9].safetensors"))


def _rewrite(folder: Path, patches: Sequence[Patch]) -> None:
    """Makes the files what they are under some patches."""
    places = _places(folder)
    names = list(dict.fromkeys(name for patch in patches for name in patch.changes))
    if unknown := [name for name in names if name not in places]:
        raise DasError(f"{folder} has no tensor {unknown[0]}: the patch was made for another network")
    originals = _originals(folder)
    kept = {name: originals[name] if name in originals else places[name].read() for name in dict.fromkeys([*originals, *names])}
    made = _changed(kept, patches, folder)
    _keep(folder, kept, patches)
    for path in {places[name].path for name in made}:
        _write(path, [(places[name], matrix) for name, matrix in made.items() if places[name].path == path])
    for path in _numbered(folder)[len(patches) :] if patches else [folder / EDITS]:
        storage.remove(path)


def _changed(kept: Mapping[str, Tensor], patches: Sequence[Patch], folder: Path) -> dict[str, Tensor]:
    made = dict(kept)
    whole = Patch.compose(patches) if patches else Patch({})
    for name, changes in whole.changes.items():
        whole.check(name, changes, kept[name], str(folder), anyway=False)
        made[name] = whole.changed(kept[name], name)
    return made


def _originals(folder: Path) -> dict[str, Tensor]:
    path = folder / EDITS / ORIGINALS
    return tensors_of(storage.read(path)) if path.is_file() else {}


def _keep(folder: Path, kept: Mapping[str, Tensor], patches: Sequence[Patch]) -> None:
    """What was there before comes first, and goes last: a kill in between loses nothing."""
    here = folder / EDITS
    storage.write(here / ORIGINALS, lambda made: made.write_bytes(bytes_of({n: t.contiguous() for n, t in kept.items()})))
    for i, patch in enumerate(patches):
        patch.save(here / f"{i:03}.safetensors")


# --- safetensors files, in place ---


@dataclass(frozen=True)
class _Place:
    """Where a tensor's bytes lie in a file."""

    path: Path
    start: int
    end: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        with self.path.open("rb") as file:
            file.seek(self.start)
            body = bytearray(file.read(self.end - self.start))
        return torch.frombuffer(body, dtype=self.dtype).view(self.shape)


def _places(folder: Path) -> dict[str, _Place]:
    """Tensor → where it lies. DasError where there are no safetensors."""
    if not (files := sorted(folder.glob("*.safetensors"))):
        raise DasError(f"{folder} holds no safetensors files: expected a saved network; save it with safetensors first")
    return {name: place for path in files for name, place in _in_file(path)}


def _in_file(path: Path) -> Iterator[tuple[str, _Place]]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header: dict[str, Any] = json.loads(file.read(size))
        except ValueError as error:
            raise DasError(f"{path} is no safetensors file") from error
    for name, each in header.items():
        if name != "__metadata__" and each["dtype"] in DTYPES:
            start, end = (8 + size + at for at in each["data_offsets"])
            yield name, _Place(path, start, end, DTYPES[each["dtype"]], tuple(each["shape"]))


def _write(path: Path, matrices: Sequence[tuple[_Place, Tensor]]) -> None:
    """A file with other bytes for some tensors, written elsewhere and renamed."""

    def writer(made: Path) -> None:
        shutil.copyfile(path, made)
        with made.open("r+b") as file:
            for place, matrix in matrices:
                file.seek(place.start)
                file.write(matrix.contiguous().view(torch.uint8).numpy().tobytes())

    storage.write(path, writer, noted=False)


def copied(lm: str, out: str | Path) -> Path:
    """A network in a folder of its own, as safetensors: the folder's files, or, of any other network, what it is once loaded.
    DasError where the folder is there already."""
    to = Path(out)
    if to.exists():
        raise DasError(f"{to} exists already: give another folder, or remove it")
    with storage.writing(to):
        made = to.with_name(f"{to.name}.partial")
        storage.remove(made)
        made.parent.mkdir(parents=True, exist_ok=True)
        _copy(lm, made)
        made.rename(to)
    return to


def _copy(lm: str, to: Path) -> None:
    folder = folder_of(lm)
    if folder.is_dir() and list(folder.glob("*.safetensors")) and base_network(lm) is None:
        shutil.copytree(folder, to)
        return
    network: Any = LM.load(lm, device="cpu")
    if getattr(network.model, "hf_quantizer", None) is not None:  # of a GGUF file: once read, its weights are plain
        network.model.hf_quantizer = None
        del network.model.config.quantization_config
    network.model.save_pretrained(to)
    network.tokenizer.save_pretrained(to)
