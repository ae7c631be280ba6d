"""Device: where a network is to run, held against what is there."""

from __future__ import annotations

import torch

from das.errors import DasError


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is cuda where there is one, else mps, else cpu. DasError where it is not there."""
    cuda, mps = torch.cuda.device_count() if torch.cuda.is_available() else 0, torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if name.startswith("cuda") and not cuda > int(name.partition(":")[2] or 0):
        raise DasError(f"device is {name}: there are {cuda} CUDA devices here; give cpu, or auto for the best that is there")
    if name == "mps" and not mps:
        raise DasError("device is mps: there is none here; give cpu, or auto for the best that is there")
    return torch.device(name)
