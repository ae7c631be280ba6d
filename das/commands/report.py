"""`das report`: a run as one HTML page."""

from __future__ import annotations


def report(run: str, out: str | None = None, beside: list[str] | None = None) -> None:
    """Write a run as one HTML page that needs nothing else: no network, no server.

    It shows what the run's folder holds, also while the run goes on: verdicts, heatmaps whose cells open, example pairs,
    training, how the run was made, and the circuits and edits that stand beside its alignments.

    Args:
        run: The run's folder.
        out: The page's file; by default report.html in the run's folder.
        beside: Folders of circuits and edits that are shown too; by default all that lie in the run's folder beside.
    """
    from das.use.report import write

    print(write(run, out, beside))
