"""Quiet: the hints and bars of libraries do not stand among what das says."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LIGHTNING = "pytorch_lightning", "lightning.pytorch", "lightning_fabric"


def quiet() -> None:
    """Hints and notices of Lightning, off: das says what a user needs."""
    for name in LIGHTNING:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*treespec.*")
    for module in ("pytorch_lightning", "lightning_fabric", "lightning_utilities"):
        warnings.filterwarnings("ignore", module=module)


@contextmanager
def hushed() -> Iterator[None]:
    """Within it transformers loads without bars and notices; afterwards it is as it was."""
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()
