"""`das shift`: alignments under another prompt."""

from __future__ import annotations

from typing import Any

from das.commands.told import tell
from das.use.options import STDOUT


def shift(
    run: str, shifts: Any = "all", retrain: float | dict[str, float] = 0.0, json: str | None = None, launcher: str = "processes"
) -> None:
    """Test every alignment of a finished run, as it is, on the same question put otherwise.

    Prints a table and writes shift.json and shift_*.png into the run's folder; what is there is not done again.

    Args:
        run: The run's folder.
        shifts: `all` that the task declares; names, also joined by + and `few_shot:2`, `chat`, `offset:8`; or a mapping from
            names of your own to shifts, whose keys compose: {frogs: {context: "Frogs sing.", where: inside}, other:
            {of: true_false, replace: {dollars: euros}, answers: {true: "Aye", false: "Nay"}, given: {lower: 2.5}, few_shot: 2,
            chat: true}}.
        retrain: Share of the grid to train anew under each shift, to compare with, or a mapping from shift to share.
        launcher: Where the work is done, as of `das run`.
        json: A file to write the table to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.progress import console, silent
    from das.use.run import Run

    found = Run.open(run).shift(shifts, retrain, silent if json == STDOUT else console(), launcher=launcher)
    tell(found.text(), found.table().to_dict("records"), json)
