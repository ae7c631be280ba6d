"""Machine: what a run is planned for: this machine, or another one by its name, and how fast that is without a calibration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from das.errors import DasError, unknown
from das.interchange.engine import WORKING
from das.memory import free_memory
from das.network.device import device_of
from das.run.settings import Settings


@dataclass(frozen=True)
class Machine:
    """A machine of which nothing was measured here: its figures are assumed.

    float32, bits16: floating-point operations per second of matrix products in 32 and in 16 bits, as its maker says them.
    memory: bytes. reached: the share of the former that a step reaches as a whole. layer: seconds in which a layer is called,
    however little there is to do.
    """

    name: str
    float32: float
    bits16: float
    memory: float
    reached: float
    layer: float
    cuda: bool = True

    def rate(self, dtype: str) -> float:
        """Floating-point operations per second that a step reaches."""
        return self.reached * (self.float32 if dtype == "float32" else self.bits16)


GIB = 2**30
CPU_REACHED, GPU_REACHED = 0.4, 0.15
"""The share of a matrix product's speed that a step reaches as a whole: measured on the demo, and on an H200 at the shape of
Llama-7B."""
CPU_LAYER, GPU_LAYER = 4e-4, 3e-4
"""Seconds in which a layer is called, however little there is to do: measured on a server's processor; assumed of GPUs."""

MACHINES = {
    "a100": Machine("an A100 with 80 GB", 19.5e12, 312e12, 80 * GIB, GPU_REACHED, GPU_LAYER),
    "h100": Machine("an H100 with 80 GB", 67e12, 989e12, 80 * GIB, GPU_REACHED, GPU_LAYER),
    "h200": Machine("an H200 with 141 GB", 67e12, 989e12, 139 * GIB, GPU_REACHED, GPU_LAYER),
    "rtx4090": Machine("an RTX 4090 with 24 GB", 82.6e12, 165e12, 24 * GIB, GPU_REACHED, GPU_LAYER),
    "laptop": Machine("a laptop of 8 cores with 16 GB", 0.25e12, 0.25e12, 12 * GIB, CPU_REACHED, CPU_LAYER, cuda=False),
}
"""Name → a machine to plan for. Peaks are those of the makers' data sheets, without sparsity (float32 without tensor cores)."""


def machine_of(name: str) -> Machine:
    """By its name; DasError where there is none."""
    if name.lower() not in MACHINES:
        raise unknown("machine", name, MACHINES)
    return MACHINES[name.lower()]


def check_choice(calibrate: bool, name: str | None) -> None:
    """DasError where there is no machine of that name, or another than this is to be measured."""
    if name is not None and machine_of(name) and calibrate:
        raise DasError(f"--calibrate measures this machine, and --machine {name} plans for another: give one of them")


def assumed(s: Settings, name: str | None) -> Machine | None:
    """The machine that is planned for where it is not this one: the one that is named, or where the run is meant for a CUDA
    device and there is none here, an A100."""
    if name is not None:
        return machine_of(name)
    return MACHINES["a100"] if s.device.startswith("cuda") and not torch.cuda.is_available() else None


def device(s: Settings) -> torch.device:
    """Where the run is to be, as far as it is here: the processor for what is meant for elsewhere."""
    return torch.device("cpu") if assumed(s, None) else device_of(s.device)


def free(s: Settings, machine: Machine | None) -> float:
    """Bytes that are free."""
    return machine.memory if machine else free_memory(device(s))


def working(s: Settings, machine: Machine | None) -> float:
    """Bytes that one run may take, see `das.interchange.engine.WORKING`."""
    if machine:
        return machine.memory / 8 if machine.cuda else WORKING
    here = device(s)
    return torch.cuda.get_device_properties(here).total_memory / 8 if here.type == "cuda" else WORKING


def rough(width: int, s: Settings) -> tuple[float, float]:
    """Of this machine: floating-point operations per second that it reaches on a network of that width, by a timed matrix
    product, and seconds in which a layer is called."""
    cuda = device(s).type == "cuda"
    with threads_of(s) as threads:
        rate = _timed_product(width, s, clock(device(s), threads))
    return (GPU_REACHED if cuda else CPU_REACHED) * rate, GPU_LAYER if cuda else CPU_LAYER


class threads_of:
    """Within it torch works with as many threads as the settings say."""

    def __init__(self, s: Settings) -> None:
        self._wanted, self._before = s.threads, torch.get_num_threads()

    def __enter__(self) -> int:
        torch.set_num_threads(self._wanted or self._before)
        return torch.get_num_threads()

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


def clock(device: torch.device, threads: int) -> Callable[[], float]:
    """What tells seconds: the processor's own where a network runs on one thread of it, so that what else the machine does is
    not counted."""
    return time.process_time if device.type == "cpu" and threads == 1 else time.perf_counter


def _timed_product(width: int, s: Settings, now: Callable[[], float]) -> float:
    dtype = getattr(torch, s.dtype)
    a, b = (torch.randn(*shape, dtype=dtype, device=device(s)) for shape in ((512, width), (width, 3 * width)))
    for _ in range(10):
        a @ b
    times = []
    for _ in range(5):
        wait()
        start = now()
        for _ in range(4):
            a @ b
        wait()
        times.append(now() - start)
    return float(4 * 2 * 512 * width * 3 * width / np.median(times))


def wait() -> None:
    """For a CUDA device to finish, where there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
