"""Plan: what an experiment will cost, before weights are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from das.errors import DasError
from das.find.alignment import Cell
from das.find.kinds import Kind
from das.network.lm import LM
from das.network.named import NAMED
from das.run import costs, machine
from das.run.fit import corpus
from das.run.layout import Layout
from das.run.settings import Settings
from das.task.files import load_task
from das.task.tokenizer import make_tokenizer


@dataclass(frozen=True)
class Plan:
    """Counts and estimates for one experiment.

    grid, chosen: cells in the grid and added at the chosen ones; trained: of the grid, about as many as the budget pays for;
    closed: cells of closed forms beside them.
    tokens: of a prompt, and after the prefix that all share.
    flops, seconds: floating-point operations, and the time they will take, by what they are for. memory, disk: bytes by part.
    machine: what the time is estimated for: this machine, from a timed matrix product of the network's width, or `ASSUMED`.
    limit: the bytes that are free there. notes: what had to be assumed.
    """

    grid: int
    trained: int
    chosen: int
    closed: int
    forwards: int
    tokens: int
    own_tokens: int
    flops: dict[str, float]
    seconds: dict[str, float]
    memory: dict[str, float]
    disk: dict[str, float]
    machine: str
    limit: float
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The plan as lines for the console."""
        budget = f"about {self.trained} of them in the budget, " if self.trained < self.grid else ""
        closed = f", {self.closed} of closed forms beside them" if self.closed else ""
        work = ", ".join(f"{name} {counted(amount)}" for name, amount in self.flops.items())
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.seconds.items())
        return "\n".join(
            [
                *self.notes,
                f"cells        {self.grid} in the grid, {budget}{self.chosen} more on the chosen ones{closed}",
                f"prompts      {self.tokens} tokens, the last {self.own_tokens} their own",
                f"forwards     {self.forwards:,} partial ones (a cell's batch through the layers above it)",
                f"operations   {work} (additions and multiplications)",
                f"time         about {duration(sum(self.seconds.values()))} on {self.machine}, without early stopping: {parts}",
                "             by its arithmetic alone: starting takes some 20 s, and steps of a small network take longer",
                f"memory       {_bytes(self.memory)}{self._excess()}",
                f"disk         {_bytes(self.disk)}",
            ]
        )

    def _excess(self) -> str:
        if sum(self.memory.values()) <= self.limit:
            return ""
        free = f"{self.limit / 2**30:,.0f} GiB"
        return f", MORE THAN THE {free} THAT ARE FREE: a smaller batch or memory, or fewer cells at once (a hypothesis, a seed)"


def counted(operations: float) -> str:
    """A large number, as a reader would say it."""
    for size, name in ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion")):
        if operations >= size:
            return f"{operations / size:,.3g} {name}"
    return f"{operations / 1e6:,.3g} million"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a reader would say it."""
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} s"


def sized(size: float) -> str:
    """Bytes, as a reader would say them."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:,.3g} {name}" if size < 100 * unit else f"{size / unit:,.0f} {name}"
    return f"{size:,.0f} B"


def _bytes(parts: Mapping[str, float]) -> str:
    return f"{', '.join(f'{name} {sized(size)}' for name, size in parts.items())}; together {sized(sum(parts.values()))}"


def plan_of(settings: Settings) -> Plan:
    """The plan of an experiment. A named network whose tokenizer cannot be had is planned from its published shape, with a
    tokenizer made of the task's own words in place of its own; a note says so."""
    machine.device(settings)  # DasError where it is not there
    try:
        layout = Layout.from_settings(settings)
        planned = plan(layout)
    except DasError:
        if settings.lm not in NAMED or not NAMED[settings.lm].shape:
            raise
        return replace(plan(Layout.from_settings(_shaped(settings))), notes=[_shape_note(settings)])
    layout.check_trace()
    return planned


def _shaped(settings: Settings) -> Settings:
    """The settings with the network's shape for the network."""
    lm = LM.skeleton(str(settings.lm))
    lm.tokenizer = make_tokenizer(corpus(load_task(settings.task)))
    return replace(settings, lm=lm)


def _shape_note(settings: Settings) -> str:
    known = NAMED[settings.lm].known.get(load_task(settings.task).name)
    own = f" (which makes {known.tokens} tokens of a prompt)" if known else ""
    words = f"a tokenizer of the task's words in place of its own{own}"
    return f"{settings.lm} is not here: planned from its published shape, with {words}"


def _beside(e: Layout, grid: Sequence[Cell]) -> tuple[Counter[Kind], Counter[Kind]]:
    """How many cells of each kind are added at the chosen sites, and of closed forms at every site of the grid."""
    there, refined = set(grid), dict.fromkeys(e.refinement(dict.fromkeys(e.hypotheses, grid[0].site)))
    forms = e.closed((cell.hypothesis, cell.site) for cell in grid)
    return Counter(cell.kind for cell in refined if cell not in there), Counter(cell.kind for cell in forms)


def plan(experiment: Layout) -> Plan:
    """Counts from the configuration, the tokenizer and the causal models alone."""
    e, s, config = experiment, experiment.settings, experiment.network.shape
    tokens = int(e.sample.lengths.max())
    own = tokens - len(e.sample.prefix(tokens - 1))
    grid, share = e.grid(), 1.0 if s.budget is None else s.budget
    trained = max(len(e.hypotheses) * s.seeds, round(share * len(grid)))
    chosen, forms = _beside(e, grid)
    own_cells = Counter({s.kind: trained}) + chosen
    every = {kind: own_cells[kind] + share * forms[kind] for kind in own_cells | forms}
    cells, closed = own_cells.total(), round(share * forms.total())
    training = sum(count for kind, count in own_cells.items() if kind.trains)
    flops = costs.flops(e, config, own, cells, training, closed, costs.cell_flops(e, grid))
    judged = training * costs.checked(s) + cells * costs.judged(s) + costs.judged_closed(e, closed)
    where, rate = machine.rate(config.hidden_size, s)
    memory = costs.memory(e, config, own, every)
    return Plan(
        grid=len(grid),
        trained=trained,
        chosen=chosen.total(),
        closed=closed,
        forwards=round(training * s.steps + judged / s.batch),
        tokens=tokens,
        own_tokens=own,
        flops=flops,
        seconds={name: amount / rate / s.workers for name, amount in flops.items()},
        memory=memory,
        disk=costs.disk(e, config, every),
        machine=where,
        limit=costs.limit(s, memory),
        notes=[] if e.network.config is not None else ["the network has no configuration: planned from its parameters alone"],
    )
