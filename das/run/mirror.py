"""Mirror: a run's folder for one who does not see it: what is in it is sent there, and what is written there is sent back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from das.find.train import CHECKPOINTS
from das.ground.storage import PARTIAL, SUMS, write
from das.run.lock import LOCK

Files = dict[str, bytes]
"""Path within the folder → content."""

LEFT = (CHECKPOINTS, "logs", SUMS)
"""Parts of paths that stay where they are: of use to their own host alone, or made anew."""
PICTURES = (".png", ".svg", ".html")


def files_of(folder: Path) -> Files:
    """What jobs may ask for, or have written, in a run's folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if _sent(path.relative_to(folder))}


def _sent(path: Path) -> bool:
    own = any(part in LEFT or part.startswith((LOCK, PARTIAL)) for part in path.parts)
    return not own and path.suffix not in PICTURES


def lay(files: Mapping[str, bytes], folder: Path) -> None:
    """Has a mirror hold these files; others that are there stay."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def news(files: Mapping[str, bytes], folder: Path) -> Files:
    """What a mirror holds beyond the files that were laid there, or otherwise."""
    return {name: content for name, content in files_of(folder).items() if files.get(name) != content}


def keep(news: Mapping[str, bytes], folder: Path) -> None:
    """Writes what was sent back into the run's folder; a folder that is not there yet whole or not at all."""
    parts: dict[Path, Files] = {}
    for name, content in news.items():
        path = _within(folder, name)
        parts.setdefault(path.parent, {})[path.name] = content
    for place, files in parts.items():
        if place.exists():
            for name, content in files.items():
                write(place / name, partial(Path.write_bytes, data=content))
        else:
            write(place, partial(_filled, files))


def _filled(files: Mapping[str, bytes], folder: Path) -> None:
    folder.mkdir()
    lay(files, folder)


def _within(folder: Path, name: str) -> Path:
    """A path in the folder; nothing that is sent back is written outside."""
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name} lies outside of the folder")
    return path
