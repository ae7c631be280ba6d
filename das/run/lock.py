"""Lock: a folder has one writer at a time."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from das.errors import DasError

LOCK = ".lock"
"""In a folder while a process writes there: who it is. The system lets go of it when the process ends, however it does."""

_HELD: dict[Path, int] = {}
"""Folders that threads of this process hold: which thread."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes a folder, if need be, and holds it for this thread, which may ask again; DasError where another process or thread
    holds it. What a dead process held is free."""
    from das.ground.storage import writing  # heavy, and whoever asks `held` only lists runs

    key, me = folder.resolve(), threading.get_ident()
    if _HELD.get(key) == me:
        yield
        return
    if key in _HELD:
        raise _taken(folder, "another thread of this process")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / LOCK):
        handle = _hold(folder)
    _HELD[key] = me
    try:
        yield
    finally:
        del _HELD[key]
        (folder / LOCK).unlink(missing_ok=True)  # before letting go, so that nobody's own is removed
        os.close(handle)


def held(folder: Path) -> bool:
    """Whether somebody who lives says that they write in a folder; of another host's process its word is taken."""
    try:
        return folder.resolve() in _HELD or _lives(_parsed((folder / LOCK).read_text()))
    except (OSError, ValueError):
        return False


def _hold(folder: Path) -> int:
    """An open handle on the lock, held; a lock that was removed while it was waited for is no lock."""
    path = folder / LOCK
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            free = _flock(handle)
            if free is False or (free is None and _lives(_holder(handle))):
                raise _taken(folder, _said(_holder(handle)))
            if path.exists() and os.path.samestat(os.stat(path), os.fstat(handle)):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _flock(handle: int) -> bool | None:
    """Whether the system gives the lock; None where it has no locks (Windows, some network file systems)."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _holder(handle: int) -> tuple[int, str] | None:
    """Process and host, as a lock says."""
    return _parsed(os.pread(handle, 300, 0).decode(errors="replace"))


def _parsed(text: str) -> tuple[int, str] | None:
    pid, _, host = text.strip().partition(" ")
    return (int(pid), host) if pid.isdigit() else None


def _lives(holder: tuple[int, str] | None) -> bool:
    """Whether a holder must be taken to live: on another host, nobody can tell."""
    if holder is None or holder == (os.getpid(), socket.gethostname()):
        return False
    if holder[1] != socket.gethostname():
        return True
    try:
        os.kill(holder[0], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _said(holder: tuple[int, str] | None) -> str:
    return f"process {holder[0]} on {holder[1]}" if holder else "another process"


def _taken(folder: Path, who: str) -> DasError:
    return DasError(f"{folder} is in use by {who}: wait until it has ended, or give another folder")
