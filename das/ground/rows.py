"""Rows: a user's table as plain Python values, from a file, a DataFrame, a list of mappings or a data set of `datasets`."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.errors import DasError, one_line, shown, unknown
from das.ground.checks import short_text

MOST_CELL = 2**24
"""Characters in one cell of a CSV file."""


@dataclass(frozen=True)
class Table:
    """Column → its cells, None where one is empty; every column is equally long. name: how errors call it. texts: the cells
    are the texts of a CSV file, which does not say what is a number. numbers: of the rows, from 1; by default as they come."""

    name: str
    columns: dict[str, list[Any]]
    texts: bool = False
    numbers: Sequence[int] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def at(self, row: int) -> str:
        """How errors call a row."""
        return f"{self.name}, row {self.numbers[row] if self.numbers else row + 1}"

    def take(self, rows: Sequence[int]) -> Table:
        """Some of the rows."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return Table(self.name, columns, self.texts, [self.numbers[row] if self.numbers else row + 1 for row in rows])

    def filled(self) -> Table:
        """Without the columns all of whose cells are empty."""
        columns = {name: cells for name, cells in self.columns.items() if any(cell is not None for cell in cells)}
        return Table(self.name, columns, self.texts, self.numbers)

    def renamed(self, names: Mapping[str, str | None]) -> Table:
        """With other names of columns; those that are None are left out."""
        for name in names:
            if name not in self.columns:
                raise unknown(f"column of {self.name},", name, self.columns)
        known = {names.get(name, name): cells for name, cells in self.columns.items()}
        if len(known) < len({*self.columns} - {n for n, new in names.items() if new is None}) + (None in known):
            raise DasError(f"{self.name}: two columns have one name after renaming: {', '.join(map(str, known))}")
        return Table(self.name, {name: cells for name, cells in known.items() if name is not None}, self.texts, self.numbers)


def read_rows(data: Any, name: str = "the table") -> Table:
    """A table from a path (`.csv`, `.tsv`, `.jsonl`, `.json`, `.parquet`, or a folder that `datasets` saved), a DataFrame, a
    list of mappings, or a `datasets.Dataset`. DasError where it is none of these, cannot be read, or holds no row."""
    if isinstance(data, str | Path):
        path = Path(short_text("the file", str(data)))
        table = _of_file(path)
    elif hasattr(data, "to_numpy") and hasattr(data, "columns"):
        table = Table(name, {str(c): [_cell(v) for v in data[c].tolist()] for c in data.columns})
    elif hasattr(data, "to_list") and hasattr(data, "column_names"):
        table = _of_records(name, data.to_list())
    elif isinstance(data, Sequence):
        table = _of_records(name, data)
    else:
        raise DasError(
            f"{name}: {shown(data)}: expected a file (csv, tsv, jsonl, json, parquet), a DataFrame, a list of mappings or a "
            "datasets.Dataset"
        )
    if not len(table):
        raise DasError(f"{table.name} holds no row")
    return table


def splits_of(data: Any) -> dict[str, Any] | None:
    """Split → its data, of a mapping such as `{train: …, test: …}`, or of a folder to which `datasets` saved several splits;
    None of anything else."""
    if isinstance(data, str | Path) and os.path.isfile(Path(data) / "dataset_dict.json"):
        data = _loaded(Path(data))
    if not isinstance(data, Mapping):
        return None
    if not data:
        raise DasError("the pairs are an empty mapping: expected one from splits to files, such as {test: pairs.csv}")
    return {str(split): some for split, some in data.items()}


def is_table(path: str | Path) -> bool:
    """Whether a path is by its name that of a table, or a folder that `datasets` saved."""
    return Path(path).suffix.lower() in READERS or any(
        os.path.isfile(Path(path) / f) for f in ("dataset_info.json", "dataset_dict.json")
    )


def _of_file(path: Path) -> Table:
    if path.is_dir():
        return _of_records(str(path), _loaded(path).to_list())
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DasError(f"{path}: expected a file that ends in {', '.join(READERS)}, or a folder that datasets saved")
    try:
        return reader(path)
    except OSError as error:
        raise DasError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DasError(f"{path} is not written in UTF-8 (byte {error.start}): save it as UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise DasError(f"{path} cannot be read: {one_line(error)}") from error


def _csv(path: Path) -> Table:
    """With a header; commas (or tabs in a `.tsv`) between the cells, and double quotes around such as hold any. A byte-order
    mark is skipped."""
    csv.field_size_limit(MOST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        head = next(lines, [])
        if repeated := [name for name in head if head.count(name) > 1]:
            raise DasError(f"{path} has two columns called {repeated[0]!r}")
        rows = []
        for line in filter(None, lines):
            if len(line) != len(head):
                raise DasError(
                    f"{path}, line {lines.line_num}: {len(line)} cells where the header has {len(head)}: put double quotes "
                    "around a cell that holds a comma, a quote or a line break"
                )
            rows.append([cell or None for cell in line])
    return Table(str(path), {name: [row[i] for row in rows] for i, name in enumerate(head)}, texts=True)


def _jsonl(path: Path) -> Table:
    with path.open(encoding="utf-8-sig") as file:
        return _of_records(str(path), list(_lines(path, file)))


def _lines(path: Path, file: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DasError(f"{path}, line {number} is no JSON ({one_line(error)}): expected an object a line") from error


def _json(path: Path) -> Table:
    body = json.loads(path.read_text("utf-8-sig"))
    if not isinstance(body, list):
        raise DasError(f"{path} holds {shown(body)}: expected a list of objects")
    return _of_records(str(path), body)


def _parquet(path: Path) -> Table:
    from pyarrow.parquet import read_table

    return _of_records(str(path), read_table(path).to_pylist())


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".json": _json, ".parquet": _parquet,
}  # fmt: skip


def _loaded(path: Path) -> Any:
    """What `datasets` saved to a folder."""
    try:
        from datasets.load import load_from_disk
    except ImportError as error:
        raise DasError(f"{path} is a folder: to read one that datasets saved, install the package datasets") from error
    try:
        return load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DasError(f"{path} is no folder that datasets saved: {one_line(error)}") from error


def _of_records(name: str, records: Sequence[Any]) -> Table:
    """Of mappings; a key that a row lacks is an empty cell."""
    for number, record in enumerate(records):
        if not isinstance(record, Mapping) or not all(isinstance(key, str) for key in record):
            raise DasError(f"{name}, row {number} is {shown(record)}: expected a mapping from columns to cells")
    names = dict.fromkeys(key for record in records for key in record)
    return Table(name, {key: [_cell(record.get(key)) for record in records] for key in names})


def _cell(value: Any) -> Any:
    """As a Python value; None for what is missing."""
    value = value.tolist() if hasattr(value, "tolist") else value
    missing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))
    return None if missing else value


def typed(cells: Sequence[Any]) -> list[Any]:
    """The texts of a CSV column as what they all are: whole numbers, numbers or truths; else texts. A number that would be
    written otherwise, such as 007, stays a text."""
    for kind in (_whole, _real, {"True": True, "False": False, "true": True, "false": False}.get):
        found = [None if cell is None else kind(cell) for cell in cells]
        if all((one is None) == (cell is None) for one, cell in zip(found, cells, strict=True)):
            return found
    return list(cells)


def _whole(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdecimal() and text.isascii() and str(int(text)) == text else None


def _real(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    bare = text.lstrip("+-")
    return number if math.isfinite(number) and "_" not in text and not (bare[:1] == "0" and bare[1:2].isdecimal()) else None
