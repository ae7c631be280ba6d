"""Patches in a saved network's files: in, out, out of order, and every byte as it was."""

import hashlib

import numpy as np
import pytest
import torch

from das import LM, DasError, Patch
from das.cli import main
from das.edit.files import EDITS, patch_folder, patches_in, undo_folder
from das.edit.memory import Memory
from das.edit.patch import Change


def folder_of(tmp_path, dtype="float32"):
    lm = LM.load("arithmetic-tiny", dtype)
    lm.model.save_pretrained(tmp_path / "network")
    lm.tokenizer.save_pretrained(tmp_path / "network")
    return tmp_path / "network"


def patch(folder, layer, seed, dtype="float32"):
    memory = Memory.of(LM.load(str(folder), dtype), layer)
    rng = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(size, 1, generator=rng) for size in memory.matrix.shape)
    return Patch({memory.name: [Change.of(memory.matrix, left, right)]}, {"edit": str(seed), "layer": layer})


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_patched_folder_is_the_patched_network_and_undo_restores_every_byte(tmp_path, dtype):
    folder = folder_of(tmp_path, dtype)
    before, made = digests(folder), patch(folder, 1, 0, dtype)
    patch_folder(folder, [made])
    assert digests(folder) != before
    lm, bare = LM.load(str(folder), dtype), folder_of(tmp_path / "bare", dtype)
    with made.applied(LM.load(str(bare), dtype)) as same:
        for name, parameter in lm.model.named_parameters():
            assert torch.equal(parameter, dict(same.model.named_parameters())[name])
    undo_folder(folder)
    assert digests(folder) == before
    assert not (folder / EDITS).exists()


def test_any_patch_comes_out_and_the_others_are_as_if_it_had_never_been(tmp_path):
    folder = folder_of(tmp_path)
    before, patches = digests(folder), [patch(folder, layer, i) for i, layer in enumerate((1, 1, 0))]
    patch_folder(folder, patches[:2])
    patch_folder(folder, patches[2:])
    undo_folder(folder, 0)
    found = digests(folder)
    assert [each.about["edit"] for each in patches_in(folder)] == ["1", "2"]
    undo_folder(folder)
    undo_folder(folder)
    assert digests(folder) == before
    patch_folder(folder, patches[1:])
    assert digests(folder) == found


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path):
    folder = folder_of(tmp_path)
    before, made = digests(folder), patch(folder, 1, 0)
    (name, (change,)), *_ = made.changes.items()
    other = Change(change.left, change.right, "0" * 32, "")
    for changes, said in (
        ({name: [other]}, "is not the matrix that the patch was made for"),
        ({"nowhere.weight": [change]}, "has no tensor nowhere.weight"),
        ({name: [Change(change.left[:-1], change.right, change.before, "")]}, "has shape"),
    ):
        with pytest.raises(DasError, match=said):
            patch_folder(folder, [Patch(changes)])
    with pytest.raises(DasError, match="holds no patches"):
        undo_folder(folder)
    with pytest.raises(DasError, match="holds no safetensors"):
        patch_folder(tmp_path, [made])
    assert digests(folder) == before
    assert not (folder / EDITS).exists()


def test_the_command_puts_a_patch_into_a_copy_and_takes_it_out(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path)
    before = digests(folder)
    patch(folder, 0, 0).save(tmp_path / "one.safetensors")
    main(["patch", "network", "--patches", "[one.safetensors]", "--out", "new"])
    assert "new holds 1 patches" in capsys.readouterr().out
    assert digests(folder) == before
    assert digests(tmp_path / "new") != before
    main(["patch", "new", "--undo", "-1"])
    assert digests(tmp_path / "new") == before


def test_rounding_is_not_undone_by_a_sum():
    """Why the matrix is kept: what a sum rounds away does not come back by subtracting."""
    rng = torch.Generator().manual_seed(0)
    matrix, change = torch.randn(64, 64, generator=rng), 100 * torch.randn(64, 64, generator=rng)
    assert not np.array_equal(((matrix + change) - change).numpy(), matrix.numpy())
