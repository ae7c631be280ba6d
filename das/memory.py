"""Memory: how much there is, and giving back what is no longer used."""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
from pathlib import Path
from typing import Any

import torch

SHARE = 0.25
"""The part of the free memory that captures may take by default."""


def free_memory(device: torch.device) -> int:
    """Bytes that the device's memory could give now; captures lie where the network does."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    psutil: Any = importlib.import_module("psutil")
    return min(int(psutil.virtual_memory().available), _container_memory())


def _container_memory() -> int:
    """Bytes that are left of a container's limit (cgroup v2); without one, more than there is."""
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if not limit.exists() or limit.read_text().strip() == "max":
        return 2**62
    return int(limit.read_text()) - int(used.read_text())


def room(gib: float | None, device: torch.device) -> float:
    """Bytes for captures: what the user gave, in GiB, else a share of the device's free memory."""
    return SHARE * free_memory(device) if gib is None else gib * 2**30


def give_back() -> None:
    """Frees what is held in cycles, and trims."""
    gc.collect()
    trim()


def trim() -> None:
    """Returns what Python has freed to the system, which glibc would keep for later."""
    if sys.platform == "linux":
        malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if malloc_trim is not None:
            malloc_trim(0)
