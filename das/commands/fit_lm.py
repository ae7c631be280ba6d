"""`das fit-lm`: a small network for a task."""

from __future__ import annotations

from typing import Any


def fit_lm(settings: Any) -> None:
    """Train a small Llama with its own tokenizer on a task; a killed training goes on where it was."""
    from das.interchange.accuracy import Accuracy, commonest
    from das.progress import console
    from das.run.fit import fit
    from das.task.files import load_task
    from das.task.variant import BASE

    found = fit(settings, console())
    for name, share in found.items():
        print(f"accuracy on {name}: {share:.3f}")
    known = Accuracy(found[BASE], commonest(load_task(settings.task).variant(BASE)))
    print(known.enough + ("" if known.solved else "; give more --steps, or a larger --width or --layers"))
