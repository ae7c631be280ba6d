"""Device: where a network is to run and in which dtype, held against what is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from das.errors import DasError, shown, unknown

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")


def check_device(device: str) -> None:
    """DasError for what is no device."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", device):
        raise DasError(f"device is {shown(device)}: expected auto, cpu, cuda, cuda:1 or mps")


def check_dtype(dtype: str) -> None:
    """DasError for a dtype that a network cannot have."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is cuda where there is one, else mps, else cpu. DasError where it is not there."""
    import torch  # here, so that settings can be checked without it

    cuda, mps = torch.cuda.device_count() if torch.cuda.is_available() else 0, torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if name.startswith("cuda") and not cuda > int(name.partition(":")[2] or 0):
        raise DasError(f"device is {name}: there are {cuda} CUDA devices here; give cpu, or auto for the best that is there")
    if name == "mps" and not mps:
        raise DasError("device is mps: there is none here; give cpu, or auto for the best that is there")
    return torch.device(name)
