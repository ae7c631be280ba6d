"""What all benchmarks share: how to time, count and weigh what a function does, and how to report it."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Key = TypeVar("Key", bound=Hashable)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has; from here on, on one thread."""
    torch.set_num_threads(1)
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="where to write the rows")
    return made


def synchronize() -> None:
    """Waits for a CUDA device to finish, where there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def medians(functions: Mapping[Key, Callable[[], Any]], repeats: int, warm: int = 1) -> dict[Key, float]:
    """Median seconds of each; one call of each in turn, so that what else the machine does falls on all alike."""
    for function in functions.values():
        for _ in range(warm):
            function()
    times: dict[Key, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def operations(function: Callable[[], Any], warm: int = 1) -> float:
    """Floating-point operations of one call, after so many to warm up: matrix products, attention and the formulas below.

    torch's counter knows no matrix exponential, QR, triangular solve, nor the CPU's fused attention. A matrix exponential's
    backward is another one, of a matrix of twice the size; a QR's is products and triangular solves.
    """
    for _ in range(warm):
        function()
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        function()
    return float(counter.get_total_flops())


PRODUCTS = {1.192092800768788e-07: 0, 5.978858893805233e-04: 1, 5.116619363445086e-02: 2, 5.800524627688768e-01: 3,
            1.461661507209034e00: 4, 3.010066362817634e00: 5}  # fmt: skip
"""How many matrix products torch's matrix exponential takes, by the largest 1-norm for which that many do (fp32); beyond the
last it scales down and squares."""


def _exponential(matrix: torch.Tensor, *_: Any, **__: Any) -> int:
    """2n³ a product; as many products as the norms of the matrices ask for."""
    n, total = matrix.shape[-1], 0
    for norm in torch.linalg.matrix_norm(matrix.detach(), 1).flatten().tolist():
        last = max(PRODUCTS)
        squarings = max(0, int(np.ceil(np.log2(max(norm, 1e-30) / last))))
        few = next((count for bound, count in PRODUCTS.items() if norm <= bound), PRODUCTS[last])
        total += 2 * n**3 * (few + squarings)
    return total


_exponential._get_raw = True  # type: ignore[attr-defined]


def _qr(shape: Sequence[int], *_: Any, **__: Any) -> int:
    """Householder, reduced, of m × n: 2mn² − ⅔n³ for R and as much again for Q."""
    *many, m, n = shape
    n, m = min(m, n), max(m, n)
    return int(np.prod(many)) * (4 * m * n**2 - 4 * n**3 // 3)


def _triangular(a: Sequence[int], b: Sequence[int], *_: Any, **__: Any) -> int:
    """n² for each right-hand side of n numbers."""
    return int(np.prod(b)) * a[-1]


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


_FORMULAS: dict[Any, Any] = {
    torch.ops.aten.linalg_matrix_exp: _exponential,
    torch.ops.aten.linalg_qr: _qr,
    torch.ops.aten.linalg_solve_triangular: _triangular,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def peak_memory_mb(function: Callable[[], Any]) -> float:
    """The most memory (MB) that a fresh process had resident while it ran a function, which must be one that pickle knows by
    name or a `functools.partial` of one. What the libraries take is in it: compare with that of a function that does nothing.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(function, send, torch.get_num_threads()))
    process.start()
    send.close()
    try:
        return float(receive.recv())
    except EOFError as error:
        raise RuntimeError(f"{function} failed in a process of its own") from error
    finally:
        process.join()


def _measured(function: Callable[[], Any], send: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    function()
    send.send(_high_water())


def _high_water() -> float:
    """This process' largest resident size (MB). Linux' `ru_maxrss` would count the process that started this one too."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


# --- reporting ---


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows as aligned columns, one for every key; numbers to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    texts = [names, *[[_text(row.get(name, "")) for name in names] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    left = [any(isinstance(row.get(name), str) for row in rows) for name in names]
    for line in texts:
        cells = zip(line, widths, left, strict=True)
        print("  ".join(text.ljust(w) if is_left else text.rjust(w) for text, w, is_left in cells).rstrip(), flush=True)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def write_json(path: Path | None, rows: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """`{"rows": […], "machine": "…", …}`; nothing without a path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"rows": list(rows), "machine": machine(), **more}, indent=1) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that `write_json` wrote."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return rows


def kept_rows(path: Path | None) -> list[dict[str, Any]]:
    """The rows that are there already."""
    return read_rows(path) if path and path.exists() else []


def machine() -> str:
    """What the figures were taken on, in words."""
    info = Path("/proc/cpuinfo")
    lines: Iterator[str] = iter(info.read_text().splitlines() if info.exists() else [])
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    parts = [name or platform.machine(), f"{os.cpu_count()} cores", f"{torch.get_num_threads()} threads used"]
    if torch.cuda.is_initialized():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"torch {torch.__version__}"])
