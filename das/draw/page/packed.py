"""Packed: a table's columns as a page holds them: typed arrays and texts, deflated, that the browser opens when they are looked
at."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEVEL = 6
"""Of compression: more takes four times as long for a hundredth of the size."""


class Blobs:
    """The packed columns of a page; in its data they go by their number."""

    def __init__(self) -> None:
        self.packed: list[str] = []

    def _add(self, body: bytes) -> int:
        squeeze = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)  # without a header: the browser's `deflate-raw`
        self.packed.append(b64encode(squeeze.compress(body) + squeeze.flush()).decode())
        return len(self.packed) - 1

    def numbers(self, column: NDArray[Any]) -> dict[str, Any]:
        """Numbers of any shape, row by row; floats as 32 bits, whole numbers from 0 in as few bytes as will hold them."""
        least = "f4" if column.dtype.kind == "f" else _least(int(column.max(initial=0)))
        return {"blob": self._add(column.astype(f"<{least}").tobytes()), "type": least}

    def bits(self, rows: Sequence[NDArray[np.bool_]]) -> dict[str, Any]:
        """Rows of truths, each from a byte of its own on, its first truth the byte's lowest bit."""
        return self.numbers(np.frombuffer(b"".join(np.packbits(row, bitorder="little").tobytes() for row in rows), np.uint8))

    def coded(self, column: Sequence[Any], order: Sequence[Any] = ()) -> dict[str, Any]:
        """What repeats: the distinct values, those of `order` first, and a number for each row."""
        values = list(dict.fromkeys([*order, *column]))
        codes = {value: code for code, value in enumerate(values)}
        return {"values": values, "codes": self.numbers(np.array([codes[value] for value in column], np.int64))}

    def texts(self, column: Sequence[str]) -> dict[str, Any]:
        """Long texts that begin and end alike: that once, what lies between for each distinct text, a number for each row."""
        codes, found = pd.factorize(np.array(column, object))
        values = found.tolist()
        before = _shared(values)
        after = _shared([value[len(before) :][::-1] for value in values])[::-1]
        between = [value[len(before) : len(value) - len(after)].encode(errors="replace") for value in values]
        ends, body = self.numbers(np.cumsum([len(text) for text in between], dtype=np.int64)), self._add(b"".join(between))
        return {
            "codes": self.numbers(codes), "before": before, "after": after, "ends": ends,
            "bytes": {"blob": body, "type": "u1"},
        }  # fmt: skip


def _shared(texts: Sequence[str]) -> str:
    """What all begin with: the first and the last in order are the least alike."""
    first, last = min(texts, default=""), max(texts, default="")
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _least(top: int) -> str:
    return "u1" if top < 2**8 else "u2" if top < 2**16 else "u4"
