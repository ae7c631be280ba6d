"""Settings of an experiment, and of training a network: plain data that a YAML file or a command line fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from das.errors import DasError, shown, unknown
from das.find.kinds import Kind, parse_kind, plain_kind
from das.ground.checks import check_known, fitted, number, short_text, whole
from das.ground.plain import read_yaml as read_yaml
from das.network.device import check_device, check_dtype
from das.run.entries import FEW, layers_of, several, shares

if TYPE_CHECKING:
    from das.task.task import Task

Named = Any
"""A task or a network: its name or path, or the object itself when called from Python."""


SEEDS = 2**32 - 1
SKIP, TRAIN = "skip", "train"
"""What becomes of dead sites."""
MANY, PAIRS, THREADS = 10**9, 10**7, 1024
"""Of steps; of pairs and prompts; of threads and processes."""


@dataclass
class Settings:
    """What an experiment does; see `das plan` for what it costs.

    Args:
        task: Task file or name.
        lm: Network: a shipped name, smollm2-135m, a folder, a hub id, a GGUF file, or a Python file that defines `network`.
        layers: `all`, or layer numbers from 0; 3+5 for two as one site, 4<-3 for the source's layer 3 in the base's layer 4.
        positions: Places in the prompt, such as amount.last, amount+1, last-12..last, amount.last+last (two as one site) or
            amount.last<-last (from another place of the source); by default the task's.
        components: What of a layer: block_output, attention_output, mlp_output, mlp_neurons, heads, query, key, value, a
            single head as in heads.3, heads.1+heads.3 for two as one site, or a module's dotted path with {layer} in it.
        hypotheses: Names to align; by default all of the task.
        subspace: Kind for the whole grid: boundless, nested, fixed, means, pca, random or full, with settings: nested:k=16; or
            given:FOLDER, a subspace from elsewhere, tried as it is.
        beside: Further kinds, such as [nested, pca], trained on the chosen cells only, to compare with.
        closed_forms: Kinds that train nothing through the network, to stand beside every trained cell of the grid: what does
            training add? By default [diffmeans, probe], where a causal model says the variables' values; [] for none. May be
            added to a finished run.
        seeds: Seeds per cell of the grid.
        chosen_seeds: Seeds on the chosen cells.
        budget: Share of the grid's training cost, up to 1, to spend on the most promising sites of each hypothesis, as a
            screen of the training pairs ranks them; by default everything is trained, unscreened.
        trace: Folder of a finished `das trace` of this task and network, whose effects rank the sites in the screen's place;
            with a budget.
        dead: What becomes of dead sites, where no swap of a subspace can change an answer (see `das.find.dead`): skip, or train
            them all the same. A site that has been trained stays as it is.
        race: Whether the sites of a hypothesis race: after a quarter and after half of the steps the worse half of those that
            are left stops, by validation IIA, and is never chosen (successive halving, see `das.find.race`).
        under: The shift to train and judge under: base, a name that the task declares, names joined by +, or a mapping (see
            `das shift --help`).
        shifts: Shifts to test every alignment under when the grid is done: all, names, or a mapping from names to shifts. May
            be added to a finished run.
        retrain: Share of the grid to train anew under each of these shifts, so that there is something to compare with, or a
            mapping from shift to share. May be added to a finished run.
        train_pairs: Pairs per hypothesis to train on.
        val_pairs: Pairs per hypothesis to choose on.
        test_pairs: Pairs per hypothesis to report on.
        pairs: Pairs of one's own in place of drawn ones: a table (csv, tsv, jsonl, json, parquet, a folder of `datasets`), or a
            mapping from split to table, as {test: pairs.csv}; what is left is drawn.
        columns: What the columns of such a table are, where their names do not say it: {clean: base, id: null} takes `clean`
            for `base`, and leaves `id` out.
        families: Family of pairs and its share: flip, keep, isolate, resample, only, natural, separate.
        nulls: Draws of each null on which the search is tried again, for a p-value of its best cell: untrained networks of
            the same shape, shuffled answers, random subspaces. None by default; 5 will do. May be added to a finished run.
        only_correct: Use only prompts that the network answers correctly.
        loss: What training minimises: cross_entropy (of the counterfactual answer; of answers that are numbers, the squared
            error), probability (1 less that of this answer, so that no pair weighs more than others), logit_difference (the
            other answer's logit less the counterfactual one's), kl (distribution matching: the divergence from the network's
            own answer to the base or source that has this answer), or a function of the task's.
        measures: What is measured beside IIA, and never judged by: probability, logit_difference, answer_rank, kl, or functions
            of the task's.
        steps: Optimiser steps per cell at most.
        batch: Pairs per step and hypothesis.
        check_every: Steps between validation checks.
        patience: Checks without gain after which a cell stops; one of Boundless or Nested that has learned something goes on,
            since its width is still to be found.
        seed: Seed of pairs, order and starts.
        dtype: Of the network's numbers: float32, bfloat16 or float16. Subspaces are always float32.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Threads per worker; 0 leaves it to torch.
        workers: Processes among which the sites of the grid are shared out.
        memory: GiB in which captured activations may be kept, over all workers; by default a quarter of what is free.
        logger: csv, none, or a Lightning logger such as tensorboard, wandb, mlflow.
    """

    task: Named
    lm: Named
    layers: str | list[int | str] = "all"
    positions: list[str] | None = None
    components: str | list[str] = field(default_factory=lambda: ["block_output"])
    hypotheses: list[str] | None = None
    subspace: Any = "nested"
    beside: list[Any] = field(default_factory=list)
    closed_forms: list[Any] = field(default_factory=lambda: ["diffmeans", "probe"])
    seeds: int = 1
    chosen_seeds: int = 3
    budget: float | None = None
    trace: str | None = None
    dead: str = SKIP
    race: bool = False
    under: Any = "base"
    shifts: Any = field(default_factory=list)
    retrain: float | dict[str, float] = 0.0
    train_pairs: int = 4096
    val_pairs: int = 512
    test_pairs: int = 1000
    pairs: str | dict[str, str] | None = None
    columns: dict[str, str | None] | None = None
    families: dict[str, float] = field(default_factory=lambda: {"flip": 0.5, "keep": 0.5})
    nulls: int = 0
    only_correct: bool = False
    loss: str = "cross_entropy"
    measures: list[str] = field(default_factory=list)
    steps: int = 200
    batch: int = 64
    check_every: int = 25
    patience: int = 3
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"
    threads: int = 0
    workers: int = 1
    memory: float | None = None
    logger: str = "csv"

    BOUNDS: ClassVar[dict[str, tuple[int, int]]] = {
        **dict.fromkeys(["seeds", "chosen_seeds"], (1, FEW)),
        **dict.fromkeys(["train_pairs", "val_pairs", "test_pairs"], (1, PAIRS)),
        **dict.fromkeys(["steps", "check_every", "patience"], (1, MANY)), "batch": (1, 10**6), "workers": (1, THREADS),
        "threads": (0, THREADS), "nulls": (0, FEW), "seed": (0, SEEDS),
    }  # fmt: skip

    def __post_init__(self) -> None:
        self._check_lists()
        self.families = shares("families", self.families)
        check_fields(self, self.BOUNDS)
        if self.nulls == 1:
            raise DasError("nulls is 1: expected 0, or at least 2 draws")
        if self.budget is not None:
            self.budget = number("budget", self.budget, 0, 1, above=True)
        elif self.trace is not None:
            raise DasError(
                "trace ranks the sites that a budget is spent on, and there is no budget: give one, or leave out trace"
            )
        if self.memory is not None:
            self.memory = number("memory", self.memory, 0, 10**6)
        for name, share in self.retrain.items() if isinstance(self.retrain, dict) else [("retrain", self.retrain)]:
            number(name if name == "retrain" else f"retrain of {name!r}", share, 0, 1)
        if self.dead not in (SKIP, TRAIN):
            raise unknown("dead", self.dead, [SKIP, TRAIN])
        check_dtype(self.dtype)
        check_device(self.device)
        for name, kinds in (("under", str | Mapping), ("shifts", str | list | tuple | Mapping)):
            if not isinstance(getattr(self, name), kinds) and not hasattr(getattr(self, name), "apply"):
                raise DasError(f"{name} is {shown(getattr(self, name))}: expected a name or a mapping, see das shift --help")
        self.kind, self.kinds_beside  # noqa: B018  (a wrong kind is reported here)
        for kind in self.kinds_closed:
            if kind.finder != "directions":
                raise DasError(f"closed_forms has {kind.label}, which is none: name it under beside, or as the subspace")

    def _check_lists(self) -> None:
        """Makes lists of single entries and of ranges, and drops what stands twice."""
        if not (isinstance(self.layers, str) and self.layers == "all"):
            self.layers = layers_of(self.layers)
        for name in ("positions", "components", "hypotheses"):
            value = getattr(self, name)
            if value is not None or name == "components":
                setattr(self, name, several(name, value, str))

    def asked(self) -> Task:
        """The task, with the pairs that were brought for it."""
        from das.task.files import load_task  # heavy, and the command line needs the settings' names alone

        return load_task(self.task, pairs=self.pairs, columns=self.columns, hypotheses=self.hypotheses)

    @property
    def kind(self) -> Kind:
        """Of the grid."""
        return parse_kind(self.subspace)

    @property
    def kinds_beside(self) -> list[Kind]:
        return [parse_kind(kind) for kind in self.beside]

    @property
    def kinds_closed(self) -> list[Kind]:
        return [parse_kind(kind) for kind in self.closed_forms]

    @property
    def screens(self) -> bool:
        """Whether a screen ranks the sites."""
        return self.budget is not None and self.trace is None

    def plain(self) -> dict[str, Any]:
        """As YAML can hold it; a task or network that was given as an object goes by its name."""
        shifts = {"under": plain_data(self.under), "shifts": plain_data(self.shifts)}
        values = asdict(replace(self, task=name_of(self.task), lm=name_of(self.lm), **shifts))
        values["subspace"] = plain_kind(self.kind)
        values["beside"] = [plain_kind(kind) for kind in self.kinds_beside]
        values["closed_forms"] = [plain_kind(kind) for kind in self.kinds_closed]
        return values


def check_fields(settings: Any, bounds: Mapping[str, tuple[int, int]]) -> None:
    """Gives every field the type of its hint; DasError where one does not fit, or is out of its bounds."""
    for name, hint in get_type_hints(type(settings)).items():
        if name in bounds:
            setattr(settings, name, whole(name, getattr(settings, name), *bounds[name]))
        elif name != "BOUNDS":
            setattr(settings, name, fitted(name, getattr(settings, name), hint))
    for name in ("task", "lm", "base", "out"):
        if isinstance(value := getattr(settings, name, None), str | Path):
            short_text(name, str(value))
        elif hasattr(settings, name) and name in ("task", "lm") and not hasattr(value, "name"):
            raise DasError(f"{name} is {shown(value)}: expected a name, a path, or the object itself")


def name_of(thing: Named) -> str:
    """The name of a task or a network."""
    return str(thing) if isinstance(thing, str | Path) else str(thing.name)


def plain_data(value: Any) -> Any:
    """As YAML and JSON can hold it; an object goes by how it is written."""
    if isinstance(value, Mapping):
        return {key: plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def check_keys(values: Mapping[str, Any], cls: type[Any], where: str, also: tuple[str, ...] = ()) -> None:
    """DasError on a key that `cls` does not have; it names the nearest one."""
    check_known(cls, values, f"setting in {where}:", also)
