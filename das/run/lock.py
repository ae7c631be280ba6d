"""Lock: a folder has one writer at a time, or several that each do a part of one work."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from das.errors import DasError

LOCK = ".lock"
"""In a folder while a process writes there: who it is. The system lets go of it when the process ends, however it does. Of
those who do a part each the files are called `.lock-PART`."""

BEAT, SILENT = 10.0, 120.0
"""Seconds between two signs of life of a holder; after how many without one a holder on another host is taken to be dead."""

_HELD: dict[Path, int] = {}
"""Folders that threads of this process hold alone: which thread."""

_BEATING: dict[Path, threading.Event] = {}
"""Locks of this process: set once one is let go."""


class Taken(DasError):
    """The folder is in somebody else's hands."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes a folder, if need be, and holds it for this thread, which may ask again; `Taken` where another process or thread
    holds it, or a part of it. What a dead process held is free: at once where the system tells of its death, on another host
    after `SILENT` seconds."""
    key, me = folder.resolve(), threading.get_ident()
    if _HELD.get(key) == me:
        yield
        return
    if key in _HELD:
        raise _taken(folder, "another thread of this process")
    with _locked(folder, folder / LOCK):
        _HELD[key] = me
        try:
            if others := [path for path in folder.glob(f"{LOCK}-*") if _lives(path)]:
                raise _taken(folder, _said(others[0]))
            yield
        finally:
            del _HELD[key]


@contextmanager
def sharing(folder: Path, part: str) -> Iterator[None]:
    """The same for one of several who do a part of the work each, and write nothing that another does. part: what is done, as
    a file may be called."""
    with _locked(folder, folder / f"{LOCK}-{part}"):
        if folder.resolve() in _HELD or _lives(folder / LOCK):
            raise _taken(folder, _said(folder / LOCK))
        yield


def held(folder: Path) -> bool:
    """Whether somebody who lives says that they write in a folder."""
    return folder.resolve() in _HELD or any(_lives(path) for path in (folder / LOCK, *folder.glob(f"{LOCK}-*")))


@contextmanager
def _locked(folder: Path, path: Path) -> Iterator[None]:
    from das.ground.storage import writing  # heavy, and whoever asks `held` only lists runs

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(path):
        handle = _hold(folder, path)
    _beat(path)
    try:
        yield
    finally:
        _BEATING.pop(path).set()
        path.unlink(missing_ok=True)  # before letting go, so that nobody's own is removed
        os.close(handle)


def _hold(folder: Path, path: Path) -> int:
    """An open handle on the lock, held; a lock that was removed while it was waited for is no lock."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            free = _flock(handle)
            if free is False or _lives(path, unless_here=free is True):
                raise _taken(folder, _said(path))
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


# --- who holds a lock, and whether they live ---


def _holder(path: Path) -> tuple[int, str] | None:
    """Process and host, as a lock says."""
    try:
        pid, _, host = path.read_text(errors="replace").strip().partition(" ")
    except OSError:
        return None
    return (int(pid), host) if pid.isdigit() else None


def _lives(path: Path, unless_here: bool = False) -> bool:
    """Whether the holder of a lock must be taken to live. Another host may have been given the lock too (some network file
    systems keep locks to a host): there the signs of life count. unless_here: the system has said that nobody here holds it."""
    holder = _holder(path)
    if holder is None or holder == (os.getpid(), socket.gethostname()):
        return path in _BEATING
    if holder[1] != socket.gethostname():
        return _silent_for(path) < SILENT
    return not unless_here and _runs(holder[0])


def _runs(process: int) -> bool:
    """Whether there is such a process on this host."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _silent_for(path: Path) -> float:
    """Seconds since a lock's last sign of life, by the clock of the file system, which all hosts share."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as now:
            return os.fstat(now.fileno()).st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0 if path.exists() else SILENT


def _beat(path: Path) -> None:
    """Has a lock show signs of life until it is let go."""
    _BEATING[path] = threading.Event()
    threading.Thread(target=_beats, args=(path, _BEATING[path]), daemon=True).start()


def _beats(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _said(path: Path) -> str:
    holder = _holder(path)
    return f"process {holder[0]} on {holder[1]}" if holder else "another process"


def _taken(folder: Path, who: str) -> Taken:
    return Taken(f"{folder} is in use by {who}: wait until it has ended, or give another folder")
