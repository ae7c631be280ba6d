"""Run: a finished run as a person holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from das.errors import DasError, unknown
from das.ground.storage import writing
from das.network.site import place_text
from das.progress import Reporter, silent
from das.run.folder import Folder
from das.run.launcher import PROCESSES
from das.stats import Bootstrap, Difference
from das.text import html_table
from das.use.cells import cell_id

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from das.find.alignment import Alignment
    from das.network.lm import LM
    from das.run.workers import Workers
    from das.task.task import Task
    from das.transfer.robustness import Robustness
    from das.use.applied import Applied
    from das.use.generated import Generated
    from das.use.inside import Inside
    from das.use.monitored import Monitored
    from das.use.report import Page
    from das.use.steerer import Steerer
    from das.use.swapper import Swapper


class Run(Folder):
    """A run folder with what can be done with it: tables, comparisons, alignments, figures, tests under shifts, its
    alignments used on prompts of one's own."""

    _restored: tuple[LM, Task] | None = None
    """The network and the task, once they have been needed."""

    def compare(self, cell_id: str, other_id: str) -> Difference:
        """How much better one cell does than another, with its interval and p-value: on the test pairs where both are of one
        hypothesis, on the natural pairs, each by its own labels, where both are chosen ones of different hypotheses."""
        one, other = (self.alignment(name).cell for name in (cell_id, other_id))
        if one.hypothesis == other.hypothesis:
            return Bootstrap(self.test_prompts(one.hypothesis)).difference(self.hits(one), self.hits(other))
        for cell in (one, other):
            if self.scorecard(cell) is None:
                raise DasError(
                    f"{cell.id} is no chosen cell: cells of different hypotheses share natural pairs if chosen alone"
                )
        natural = self.natural(one), self.natural(other)
        return Bootstrap(natural[0].prompts).difference(*(n.hits for n in natural))

    # --- shifts ---

    def shift(
        self, shifts: Any = "all", retrain: float | Mapping[str, float] = 0.0, report: Reporter = silent, task: Any = None,
        lm: Any = None, launcher: str | Workers = PROCESSES,
    ) -> Robustness:  # fmt: skip
        """Tests every alignment, as it is, on the same question put otherwise; what is there already is not done again.

        shifts: `all` that the task declares, names, or a mapping from names to what `das.task.plain_shifts.parse_shift` reads.
        retrain: share of the grid to train anew under each shift (or shift → share), to compare with. launcher: where it is
        done, see `das.run.launcher.launched`. Writes `shifts/`, `shift.json` and the figures `shift_*.png` into the run's
        folder.
        """
        from das.transfer.transfer import transfer

        with self.alone(report):
            found = transfer(self, shifts, retrain, report, task, lm, launcher)
            for path in _shift_figures(found):
                report.say(str(path))
            return found

    def robustness(self) -> Robustness:
        """What the shifts came to that the run was tested under."""
        from das.transfer.robustness import Robustness

        return Robustness(self)

    # --- while it is under way ---

    def so_far(self, summary: dict[str, Any], results: pd.DataFrame) -> Run:
        """The run as it would be opened, were these its summary and its results."""
        return _SoFar(self.folder, summary, results)

    # --- what was found ---

    def look(self, cell: str, prompts: int = 500, task: Any = None, lm: Any = None) -> Inside:
        """What an alignment is made of (see `das.use.inside.Inside`): its prompts' coordinates, entries, units and tokens, and
        its angles to others of the run. cell: an id, or a hypothesis, whose chosen cell is meant. task, lm: others than
        the run was made from, or the objects where it was given such."""
        from das.use.look import look

        alignment = self.alignment(cell_id(self, cell))
        return look(self, alignment, *self._made_from(task, lm), prompts)

    def angles(self, cells: Sequence[str] | None = None) -> pd.DataFrame:
        """How near alignments lie to each other, beside random subspaces (see `das.use.angles.overlaps`). cells: ids or
        hypotheses; by default the chosen cells of all hypotheses."""
        from das.use.angles import overlaps

        wanted = self.summary["hypotheses"] if cells is None else cells
        return overlaps([self.alignment(name) for name in dict.fromkeys(cell_id(self, name) for name in wanted)])

    # --- use ---

    def swapper(self, cell: str, task: Any = None, lm: Any = None) -> Swapper:
        """An alignment of the run with its network and task, ready for prompts of one's own. cell: an id, or a hypothesis,
        whose chosen cell it is. task, lm: others than the run was made from, or the objects where it was given such."""
        from das.use.swapper import Swapper

        return Swapper(self.alignment(cell_id(self, cell)), *self._made_from(task, lm))

    def _made_from(self, task: Any, lm: Any) -> tuple[LM, Task]:
        """The network and the task, or others in their place; its own are kept once they have been needed."""
        from das.use.restored import restored

        if (task, lm) != (None, None):
            return restored(self, task, lm)
        if self._restored is None:
            self._restored = restored(self)
        return self._restored

    def apply(self, cell: str, base: Any, source: Any = None, **given: Any) -> Applied:
        """What a swap by one of the run's alignments makes of the network's answer to a base, a text or values of the task's
        inputs (see `das.use.apply.apply`). cell: see `swapper`."""
        return self.swapper(cell).apply(base, source, **given)

    def generate(self, cell: str, base: Any, source: Any = None, **given: Any) -> Generated:
        """How the network goes on from a base under the swap (see `das.use.apply.generate`). cell: see `swapper`."""
        return self.swapper(cell).generate(base, source, **given)

    def swapped(self, cell: str, source: Any = None, **given: Any) -> AbstractContextManager[Any]:
        """Keeps the swap in every call of the network in a `with` block (see `das.use.apply.swapped`). cell: see `swapper`."""
        return self.swapper(cell).swapped(source, **given)

    def steerer(self, cell: str) -> Steerer:
        """An alignment of the run with its network and task, ready to steer. cell: see `swapper`."""
        from das.use.steerer import Steerer

        return Steerer(self.alignment(cell_id(self, cell)), *self._made_from(None, None))

    def steer(self, cell: str, prompts: Any, also: Sequence[Mapping[str, Any]] = (), **way: Any) -> Generated:
        """How the network goes on from prompts when an alignment of the run steers it (see `das.use.steer.steer`). cell: see
        `swapper`. also: what steers at once, each with its own `cell` and way."""
        from das.use.steer import ways_of

        return self.steerer(cell).steer(prompts, *ways_of(also, self.steerer), **way)

    def steered(self, cell: str, **way: Any) -> AbstractContextManager[Any]:
        """Steers every call of the network in a `with` block (see `das.use.steer.steered`). cell: see `swapper`."""
        return self.steerer(cell).steering(**way)

    def monitor(self, cell: str, texts: Any, variable: Any = None, layers: Any = None) -> Monitored:
        """Every token of texts read along an alignment of the run (see `das.use.monitor.monitor`). cell: see `swapper`."""
        from das.use.monitor import Monitor

        return Monitor(self.alignment(cell_id(self, cell)), *self._made_from(None, None)).read(texts, variable, layers)

    def edits(
        self, cell: str, input: str, moves: Sequence[tuple[Any, Any]], shifts: Sequence[str] = ("base",),
        doses: Sequence[float] | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """What is answered when an alignment of the run moves its variable from what it is under one value of an input to what
        it is under another (see `das.judge.edits.Edits.outcomes`). cell: see `swapper`; shifts: those of
        the task under which it is asked; moves: pairs of values."""
        from das.judge.edits import DOSES, Edits

        made = self.swapper(cell)
        assert made.task is not None
        return Edits(made.alignment, made.lm, made.task, input, moves, doses or DOSES).outcomes(shifts)

    def matches(
        self, cell: str, sets: Mapping[str, Sequence[tuple[str, str]]], alphas: Sequence[float], **given: Any
    ) -> pd.DataFrame:
        """Which prompts the network goes on from as is wanted when an alignment of the run steers it, beside random directions
        (see `das.use.matches.matches`). cell: see `swapper`."""
        from das.use.matches import matches

        return matches(self.steerer(cell), sets, alphas, **given)

    def share(self, cell: str) -> Alignment:
        """An alignment with what is to be said of it, ready for `save_pretrained(folder)` or `push_to_hub(repo)`. cell: an id,
        or a hypothesis, whose chosen cell is meant."""
        from das.use.share import described

        return described(self, cell_id(self, cell))

    def _repr_html_(self) -> str:
        entries = [(e, e.get("verdict") or {}) for e in self.summary["hypotheses"].values()]
        rows = [
            [e["hypothesis"], found.get("verdict", "–"), place_text(e), e["test_iia"], e["rank"], found.get("sentence", "")]
            for e, found in entries
        ]
        return html_table(rows, ["hypothesis", "verdict", "chosen cell", "test IIA", "rank", "why"], str(self.folder))

    # --- pictures ---

    def report(self, out: str | Path | None = None, beside: Sequence[str | Path] | None = None) -> Page:
        """Writes the run as one HTML page (see `das.use.report.write`), by default `report.html` in its folder; its path, which
        shows the page in a notebook."""
        from das.use.report import write

        return write(self, out, beside)

    def heatmap(
        self, hypothesis: str, ax: Axes | None = None, metric: str = "iia", subspace: str | None = None
    ) -> Axes:  # fmt: skip
        """IIA on test pairs over layers × positions; `hypothesis` with or without its variables. subspace: a kind, as the table
        names it, by default the one that the grid was searched with."""
        from das.draw.heatmaps import heatmap

        name = hypothesis.split(".")[0]
        if name not in self.summary["hypotheses"]:
            raise unknown("hypothesis", hypothesis, self.summary["hypotheses"])
        return heatmap(self, name, ax, metric, subspace=subspace)

    def figures(self) -> list[Path]:
        """Draws every figure anew from the tables; their paths."""
        from das.draw.gallery import figures

        with writing(self.folder):
            drawn = figures(self)
            return drawn + _shift_figures(self.robustness()) if (self.folder / "shift.json").exists() else drawn


class _SoFar(Run):
    """A run that is under way."""

    def __init__(self, folder: Path, summary: dict[str, Any], results: pd.DataFrame) -> None:
        super().__init__(folder)
        self._summary, self._results = summary, results

    @property
    def summary(self) -> dict[str, Any]:
        return self._summary

    def results(self) -> pd.DataFrame:
        return self._results


def _shift_figures(robustness: Robustness) -> list[Path]:
    from das.draw import shifts

    return shifts.figures(robustness)
