"""`das patch`: edits put into a saved network's files, and taken out again."""

from __future__ import annotations


def patch(
    lm: str, patches: list[str] | None = None, out: str | None = None, undo: int | None = None, json: str | None = None,
) -> None:  # fmt: skip
    """Put patches into a saved network's weights, or take one out again: the files are then, byte by byte, what they were.

    Args:
        lm: The network's folder, whose own files are changed; or any network, as for `das run`, with --out.
        patches: Files that `das edit` wrote, put in one after another.
        out: A folder to write the patched network to; the other stays as it is.
        undo: The number of a patch to take out, from 0; -1 is the last.
        json: What the folder holds now as data: beside the text into a file, or without a value in its place.
    """
    from pathlib import Path

    from das.commands.told import tell
    from das.edit.files import copied, patch_folder, patches_in, undo_folder
    from das.edit.patch import Patch
    from das.errors import DasError

    if (patches is None) == (undo is None):
        raise DasError("patch either puts patches in, --patches FILES, or takes one out, --undo NUMBER")
    read = [Patch.load(path) for path in patches or []]
    to = copied(lm, out) if out else Path(lm)
    if undo is None:
        patch_folder(to, read)
    else:
        undo_folder(to, None if undo == -1 else undo)
    held = [{"number": i, **each.about} for i, each in enumerate(patches_in(to))]
    lines = [f"{each['number']}  {each.get('edit', '')}  layer {each.get('layer', '')}" for each in held]
    tell("\n".join([f"{to} holds {len(held)} patches", *lines]), {"folder": str(to), "patches": held}, json)
