"""Restored: the network and the task that a run was made from, as they are now."""

from __future__ import annotations

import warnings
from typing import Any

from das.errors import DasError
from das.network.given import Given
from das.network.lm import LM
from das.run.folder import Folder
from das.run.provenance import changes, provenance
from das.task.task import Task


def restored(run: Folder, task: Any = None, lm: Any = None) -> tuple[LM, Task]:
    """Loads them anew. task, lm: others, or the objects themselves where the run was given such. DasError where something has
    changed since the run was made; of a task or a network that was given here, a warning."""
    settings = run.settings(task, lm)
    network = Given(settings.lm, settings.dtype, settings.device)
    asked = settings.asked().under(settings.under, network.tokenizer)
    made = provenance(asked, network.tokenizer, network.printed)
    if run.made and (changed := changes(run.made, made)):
        what = f"{run.folder} was made from something else: {'; '.join(changed)} changed since"
        if task is None and lm is None:
            raise DasError(
                f"{what}. Put back what it was made from, or give task= and lm= to use its alignments on what there is now"
            )
        warnings.warn(f"{what}: its tables do not say what its alignments do here", stacklevel=4)
    return network.lm, asked
