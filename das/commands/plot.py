"""`das plot`: the figures of a run."""

from __future__ import annotations


def plot(run: str) -> None:
    """Draw every figure of a finished run anew from its tables.

    Args:
        run: The run's folder.
    """
    from das.use.run import Run

    for path in Run.open(run).figures():
        print(path)
