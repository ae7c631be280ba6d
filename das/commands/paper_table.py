"""`das paper-table`: the paper's table beside a run's."""

from __future__ import annotations


def paper_table(run: str) -> None:
    """The table of the Boundless DAS paper (arXiv 2305.08809) beside the same rows of a run of price tagging.

    Args:
        run: The run's folder, tested under the paper's shifts.
    """
    from das.draw.paper import paper_table
    from das.transfer.robustness import Robustness
    from das.use.run import Run

    print(paper_table(Robustness(Run.open(run))))
