"""`das fit-lm`: a small network for a task."""

from __future__ import annotations

from typing import Any


def fit_lm(settings: Any) -> None:
    """Train a small Llama with its own tokenizer on a task; a killed training goes on where it was."""
    from das.progress import console
    from das.run.fit import fit

    for name, share in fit(settings, console()).items():
        print(f"accuracy on {name}: {share:.3f}")
