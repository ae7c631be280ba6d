"""Machine: what a run is planned for, and how fast that is."""

from __future__ import annotations

import time

import numpy as np
import torch

from das.network.device import device_of
from das.run.settings import Settings

ASSUMED = "an A100 with 80 GB", 312e12, 80 * 2**30
"""Where an experiment is to run on a CUDA device and there is none here: what it is planned for, its floating-point operations
per second in 16 bits, its bytes."""


REACHED = 0.4
"""The share of a matrix product's speed that a step reaches as a whole (measured on the demo)."""


def elsewhere(s: Settings) -> bool:
    """Whether the run is meant for a CUDA device and there is none here."""
    return s.device.startswith("cuda") and not torch.cuda.is_available()


def device(s: Settings) -> torch.device:
    """Where the run is to be, as far as it is here: the processor for what is meant for elsewhere."""
    return torch.device("cpu") if elsewhere(s) else device_of(s.device)


def rate(width: int, s: Settings) -> tuple[str, float]:
    """A machine, and the floating-point operations per second that it reaches on a network of that width."""
    if elsewhere(s):
        return f"{ASSUMED[0]} (assumed: there is no CUDA device here)", REACHED * ASSUMED[1]
    before = torch.get_num_threads()
    torch.set_num_threads(s.threads or before)
    try:
        return "this machine", REACHED * _timed_product(width, s)
    finally:
        torch.set_num_threads(before)


def _timed_product(width: int, s: Settings) -> float:
    dtype = getattr(torch, s.dtype)
    a, b = (torch.randn(*shape, dtype=dtype, device=device(s)) for shape in ((512, width), (width, 3 * width)))
    for _ in range(10):
        a @ b
    times = []
    for _ in range(5):
        _wait()
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        _wait()
        times.append(time.perf_counter() - start)
    return float(4 * 2 * 512 * width * 3 * width / np.median(times))


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
