"""Begun: the folder of a training or a search that may be killed: it goes on with the same settings, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load as arrays_of
from safetensors.numpy import save_file

from das.errors import DasError
from das.ground.storage import intact, load, read_json, read_table, remove, sweep, write, write_json
from das.run.lock import alone
from das.run.provenance import Print, others

SETTINGS, MADE_FROM = "settings.json", "made_from.json"

Arrays = dict[str, NDArray[Any]]


def check_begun(work: Path, settings: Mapping[str, Any]) -> None:
    """DasError where the working folder was begun with other settings, which JSON holds."""
    if work.is_symlink():
        raise DasError(f"{work} is a link: remove it, or give another folder")
    if not (work / SETTINGS).exists():
        return
    theirs, mine = read_json(work / SETTINGS), json.loads(json.dumps(settings, default=str))
    if changed := [name for name in {**mine, **theirs} if theirs.get(name) != mine.get(name)]:
        name = changed[0]
        raise DasError(
            f"{work} was begun with {name} = {theirs.get(name)!r}, not {mine.get(name)!r}: to go on, give the same settings; "
            "to begin anew, remove it, or give another folder"
        )


def begin(work: Path, settings: Mapping[str, Any]) -> None:
    """Makes the working folder, or checks that it was begun with the same settings."""
    check_begun(work, settings)
    write_json(work / SETTINGS, settings)


class Parts:
    """The finished parts of a search, kept in a folder while it runs, so that the same search goes on with what is there.

    The folder is made with the first part. made: the prints of task and network (see `das.run.provenance`); lm: what the
    network is called."""

    def __init__(self, work: Path, settings: Mapping[str, Any], made: Print, lm: str) -> None:
        self.work, self.settings, self.made, self.lm = work, settings, made, lm

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder around the working one. DasError where another process does, or where what is there is of another
        search."""
        new = not self.work.parent.exists()
        with alone(self.work.parent):
            check_begun(self.work, self.settings)
            self._check_made()
            sweep(self.work)
            try:
                yield
            finally:
                if new and not self.work.exists():
                    remove(self.work.parent)

    def _check_made(self) -> None:
        if not (self.work / MADE_FROM).exists():
            return
        before = read_json(self.work / MADE_FROM)
        if changed := others(before["made_from"], self.made, before["lm"], self.lm):
            raise DasError(
                f"{self.work} was begun from something else: {'; '.join(changed)} changed since. To begin anew, remove it, or "
                "give another folder"
            )

    @property
    def there(self) -> list[str]:
        """The names of the parts that are finished."""
        paths = [*self.work.glob("*.safetensors"), *self.work.glob("*.parquet")]
        return [path.stem for path in sorted(paths, key=lambda path: path.stat().st_mtime) if intact(path)]

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """A part that is made of arrays: as it is kept, or made now; in no certain order."""
        path = self.work / f"{name}.safetensors"
        if intact(path):
            return load(path, arrays_of)
        made = {key: np.ascontiguousarray(array) for key, array in make().items()}
        self._keep(path, lambda to: save_file(made, to))
        return made

    def table(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A part that is a table."""
        path = self.work / f"{name}.parquet"
        if intact(path):
            return read_table(path)
        made = make()
        self._keep(path, made.to_parquet)
        return made

    def _keep(self, path: Path, writer: Callable[[Path], Any]) -> None:
        if not (self.work / MADE_FROM).exists():
            begin(self.work, self.settings)
            write_json(self.work / MADE_FROM, {"lm": self.lm, "made_from": self.made})
        write(path, writer)

    def forget(self) -> None:
        """Removes them."""
        remove(self.work)
