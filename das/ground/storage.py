"""Storage: files that are there whole or not at all, and are still what was written. It knows nothing of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from safetensors import SafetensorError

from das.errors import DasError
from das.ground.plain import finite

SUMS = ".sha256"
"""In every folder that is written to: a line for each version of each file, as `sha256sum` has it. A line is added before its
file is renamed, so that a kill in between leaves one line too many and never one too few. Files without a line are taken as
they are."""

GONE = 64 * "0"
"""For the checksum of a file that is meant to be there no longer."""

PARTIAL = ".partial-"
ANEW = "repeat the command that made it, and it is made anew"
T = TypeVar("T")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """DasError that names the file, for whatever the system has against its being written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DasError(f"{path} cannot be written: {reason}. Once it can be, the same command goes on from here") from error


def write(path: Path, writer: Callable[[Path], Any], noted: bool = True) -> None:
    """Has a file or a folder written elsewhere and renames it, so that it is there whole or not at all, and notes its checksum,
    unless it is to lie where nothing else of ours does. Makes the folder that it lies in.

    writer: writes to the path that it is given, in a folder beside `path` whose name nobody can guess and which nobody else may
    enter. A link at `path` is replaced, not followed. DasError where it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
        try:
            made = scratch / path.name
            writer(made)
            if made.is_dir():
                _note(made / SUMS, sorted(made.iterdir()))
            elif noted:
                _note(path.parent / SUMS, [made])
            made.replace(path)
            scratch.rmdir()
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def write_json(path: Path, body: Any) -> None:
    """Writes JSON as every reader knows it: what is no finite number is null."""
    text = json.dumps(finite(body), indent=1, allow_nan=False, default=str) + "\n"
    write(path, lambda made: made.write_text(text))


# --- reading ---


def read(path: Path) -> bytes:
    """What `write` wrote; DasError where it is missing, or no longer that."""
    try:
        body = path.read_bytes()
    except FileNotFoundError as error:
        raise DasError(f"{path} is missing: {ANEW}") from error
    except OSError as error:
        raise DasError(f"{path} cannot be read: {error.strerror}") from error
    known = _known(path)
    if known and hashlib.sha256(body).hexdigest() not in known:
        raise DasError(f"{path} is damaged, it is no longer what was written: {ANEW}")
    return body


def load(path: Path, parse: Callable[[bytes], T]) -> T:
    """What a file says; DasError where it is missing, damaged, or not of its kind."""
    body = read(path)
    try:
        return parse(body)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DasError(f"{path} is damaged, it cannot be read ({reason}): remove it, then {ANEW}") from error


def read_json(path: Path) -> Any:
    """See `load`."""
    return load(path, json.loads)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """A parquet file; see `load`. options: of `pandas.read_parquet`."""
    return load(path, lambda body: pd.read_parquet(BytesIO(body), **options))


def written(path: Path) -> bool:
    """Whether a file that may or may not be is there; DasError where it was written and is missing."""
    if not path.exists() and _known(path):
        raise DasError(f"{path} is missing: {ANEW}")
    return path.exists()


def intact(path: Path) -> bool:
    """Whether a file is there and is what was written."""
    try:
        read(path)
    except DasError:
        return False
    return True


# --- cleaning ---


def remove(path: Path) -> None:
    """Removes a file, a link (not what it points to) or a folder with all that is in it, if it is there."""
    with writing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what killed processes have left half-written, in a folder where nobody else writes."""
    for partial in list(folder.rglob(f"{PARTIAL}*")):
        remove(partial)


# --- checksums ---


def noted(folder: Path) -> dict[str, set[str]]:
    """The files that were written into a folder: name → the checksums that it may have, one for each version of it."""
    try:
        lines = (folder / SUMS).read_text(errors="replace").splitlines()
    except OSError:
        return {}
    sums: dict[str, set[str]] = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        if len(digest) == 64:
            sums[name] = set() if digest == GONE else sums.get(name, set()) | {digest}
    return {name: digests for name, digests in sums.items() if digests}


def forget_missing(folder: Path) -> None:
    """Takes it that files which are no longer there, in a folder and below, are meant not to be."""
    for sums in folder.rglob(SUMS):
        _append(sums, [f"{GONE}  {name}" for name in noted(sums.parent) if not sums.with_name(name).exists()])


def _known(path: Path) -> set[str]:
    """The checksums that a file may have; empty where none was noted."""
    return noted(path.parent).get(path.name, set())


def _note(sums: Path, made: list[Path]) -> None:
    before = noted(sums.parent)
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in made}
    _append(sums, [f"{digest}  {name}" for name, digest in digests.items() if digest not in before.get(name, ())])


def _append(sums: Path, lines: list[str]) -> None:
    """Adds lines in one piece, as several processes may do so at once."""
    if not lines:
        return
    torn = sums.is_file() and not sums.read_bytes().endswith(b"\n")
    with writing(sums):
        handle = os.open(sums, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            os.write(handle, (torn * "\n" + "".join(f"{line}\n" for line in lines)).encode())
        finally:
            os.close(handle)
