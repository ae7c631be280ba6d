"""Seeding: samplers of one's own draw from the generator that they are handed, whatever generator they call."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """For a `with` block, the global generators of Python's `random` and of numpy follow from `rng`; then they are as before.

    `rng` gives no number for it: it spawns a child, so that what is drawn from `rng` itself is the same with and without. Two
    blocks under one `rng` get different numbers, and the same ones in every process that begins with the same seed.
    """
    child = rng.spawn(1)[0]
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  (what samplers may call)
    random.seed(int(child.integers(2**63)))
    np.random.seed(int(child.integers(2**32)))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
