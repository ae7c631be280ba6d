"""Plan: what an experiment will cost, before weights are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from das.errors import DasError
from das.find.alignment import Cell
from das.find.kinds import Kind
from das.ground.readable import counted, duration, operations, sized
from das.network.lm import LM
from das.network.named import NAMED
from das.run import costs, workload
from das.run.amounts import Meter
from das.run.amounts import operations as operations_in
from das.run.fit import corpus
from das.run.layout import Layout
from das.run.machine import Machine, assumed, device, working
from das.run.prices import prices
from das.run.settings import Settings
from das.task.files import load_task
from das.task.tokenizer import make_tokenizer

HERE = "this machine"
SHAPELESS = "the network has no configuration that says its shape: planned from its parameters alone"
CALIBRATE = "rough figures: `das plan … --calibrate` measures for a minute what this machine takes, and keeps it"


@dataclass(frozen=True)
class Plan:
    """Counts and estimates for one experiment.

    grid, chosen: cells in the grid and added at the chosen ones; trained: of the grid, about as many as the budget pays for;
    closed: cells of closed forms beside them.
    tokens: of a prompt, and after the prefix that all share.
    flops, seconds, processor: floating-point operations, seconds on the clock, and seconds of all workers together, by stage
    (see `das.run.stages.PURPOSES`). memory, disk: bytes by part.
    machine: what the time is estimated for; calibrated: the day on which that was measured, empty where it is rough.
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
    processor: dict[str, float]
    memory: dict[str, float]
    disk: dict[str, float]
    machine: str
    calibrated: str
    limit: float
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The plan as lines for the console."""
        budget = f"about {self.trained} of them in the budget, " if self.trained < self.grid else ""
        closed = f", {self.closed} of closed forms beside them" if self.closed else ""
        return "\n".join(
            [
                *self.notes,
                f"cells        {self.grid} in the grid, {budget}{self.chosen} more on the chosen ones{closed}",
                f"prompts      {self.tokens} tokens, the last {self.own_tokens} their own",
                f"forwards     {counted(self.forwards)} partial ones (a cell's batch through the layers above it)",
                f"operations   {_parts(self.flops, operations)}; together {operations(sum(self.flops.values()))}",
                *self._time(),
                f"memory       {_parts(self.memory, sized)}; together {sized(sum(self.memory.values()))}{self._excess()}",
                f"disk         {_parts(self.disk, sized)}; together {sized(sum(self.disk.values()))}",
            ]
        )

    def _time(self) -> list[str]:
        how = f", calibrated on {self.calibrated}" if self.calibrated else ""
        lines = [
            f"time         about {duration(sum(self.seconds.values()))} on {self.machine}{how}: "
            f"{_parts(self.seconds, duration)}",
            "             beside that some 20 s to start and to draw; what else the machine does is not counted",
        ]
        return lines if self.calibrated or self.machine != HERE else [*lines, f"             {CALIBRATE}"]

    def _excess(self) -> str:
        if sum(self.memory.values()) <= self.limit:
            return ""
        free = sized(self.limit)
        return f", MORE THAN THE {free} THAT ARE FREE: a smaller batch or memory, or fewer cells at once (a hypothesis, a seed)"


def _parts(parts: Mapping[str, float], said: Callable[[float], str]) -> str:
    return ", ".join(f"{name} {said(amount)}" for name, amount in parts.items())


def plan_of(settings: Settings, machine: str | None = None) -> Plan:
    """The plan of an experiment. A named network whose tokenizer cannot be had is planned from its published shape, with a
    tokenizer made of the task's own words in place of its own; a note says so. machine: another one than this, by its name (see
    `das.run.machine.MACHINES`)."""
    device(settings)  # DasError where it is not there
    there = assumed(settings, machine)
    layout, notes = layout_of(settings)
    planned = plan(layout, there)
    if not notes:
        layout.check_trace()
    return replace(planned, notes=[*notes, *planned.notes])


def layout_of(settings: Settings) -> tuple[Layout, list[str]]:
    """The layout of an experiment, of the network's published shape where the network cannot be had, and a note of that."""
    try:
        return Layout.from_settings(settings), []
    except DasError:
        if settings.lm not in NAMED or not NAMED[settings.lm].shape:
            raise
        return Layout.from_settings(_shaped(settings)), [_shape_note(settings)]


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


def plan(e: Layout, machine: Machine | None = None) -> Plan:
    """Counts from the configuration, the tokenizer and the causal models alone. machine: what is planned for, if not this."""
    machine = machine or assumed(e.settings, None)
    meter, price = Meter(e, working(e.settings, machine)), prices(e, machine)
    parts = workload.counted(e, meter, costs.capture_room(e.settings, machine))
    cells, every = _cells(e)
    memory = costs.memory(e, e.network.shape, meter.own, every, machine)
    workers = e.settings.workers
    totals = {name: part.total(workers) for name, part in parts.items()}
    return Plan(
        **cells,
        forwards=round(sum(total.get("cells", 0.0) + total.get("features", 0.0) for total in totals.values())),
        tokens=meter.tokens,
        own_tokens=meter.own,
        flops={name: operations_in(total) for name, total in totals.items()},
        seconds={name: price.of(part.longest(workers)) for name, part in parts.items()},
        processor={name: price.of(total) for name, total in totals.items()},
        memory=memory,
        disk=costs.disk(e, e.network.shape, every),
        machine=price.where,
        calibrated=price.when,
        limit=costs.limit(e.settings, memory, machine),
        notes=[] if e.network.shape is e.network.config else [SHAPELESS],
    )


def _cells(e: Layout) -> tuple[dict[str, int], dict[Kind, float]]:
    """How many cells there are (see `Plan`), and of each kind in all."""
    s, grid = e.settings, e.grid()
    share = 1.0 if s.budget is None else s.budget
    trained = max(len(e.hypotheses) * s.seeds, round(share * len(grid)))
    chosen, forms = _beside(e, grid)
    own = Counter({s.kind: trained}) + chosen
    counts = {"grid": len(grid), "trained": trained, "chosen": chosen.total(), "closed": round(share * forms.total())}
    return counts, {kind: own[kind] + share * forms[kind] for kind in own | forms}
