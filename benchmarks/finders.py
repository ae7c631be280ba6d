"""Which finder reads, and which one acts? Every finder at the same sites, on the same pairs, before the same judge.

    python benchmarks/finders.py --json benchmarks/results/finders.json --figure benchmarks/results/finders.png

A case is a hypothesis at a site: of the four tasks of SmolLM2-135M (after `make smollm2`), where it was found before (see
`benchmarks/results/smollm2/`); of the shipped price tagger; and of planted networks. A row per case and finder: how well the
variable is read from what was found (held-out accuracy, and that less the one of arbitrary values), what swapping it does (IIA,
and on the pairs that flip the answer), what else it moves (isolate), what resampling it costs (ablation) and putting it back
restores (recovery), its size, the processor seconds of finding it and of the captures that it went by, the verdict, and how far
its IIA is from that of the first finder, with the 95 % interval over the same pairs. A finder that cannot be asked says why.
The figure has a point per case and finder: reading against acting.

Cases that the file has are not computed again. Without nulls: they can only take a “supported” away.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gauge
from matplotlib.figure import Figure
from remembering import Remembering, found, processor

from das import DasError, Experiment, fit_sae
from das.draw import gallery
from das.draw.outcome import evidence_figures
from das.find.alignment import Cell
from das.find.kinds import parse_kind
from das.find.search import Search
from das.network.lm import LM
from das.network.site import Site
from das.planted.structures import STRUCTURES
from das.task.files import load_task

PRICES = {"train_pairs": 1024, "val_pairs": 256, "test_pairs": 500, "steps": 100}
SMOLLM2 = {"train_pairs": 192, "val_pairs": 64, "test_pairs": 120, "steps": 30, "batch": 32, "check_every": 15, "memory": 2}
PLANTED = {"train_pairs": 384, "val_pairs": 128, "test_pairs": 200, "steps": 100, "check_every": 50}
EVERYWHERE = {
    "chosen_seeds": 1, "closed_forms": [], "families": {"flip": 0.4, "keep": 0.4, "only": 0.2}, "logger": "none", "threads": 1,
}  # fmt: skip
"""`only` is what lat goes by."""

FINDERS = {
    "nested": "nested:k={k}", "boundless": "boundless:k={k}", "fixed": "fixed:k={rank}", "neurons": "neurons:k={k}",
    "diffmeans": "diffmeans:k={k}", "lat": "lat:k={k}", "probe": "probe:k={k}", "pca": "pca:k={k}",
    "dictionary": "dictionary:{sae},k={k}", "random": "random:k={rank}", "full": "full",
}  # fmt: skip
"""The first is what the others are held against. `rank`: about as many columns as it needs."""

NETWORKS = "planted networks", "price tagger", "SmolLM2-135M"


@dataclass(frozen=True)
class Case:
    """A hypothesis at a site of a network. of: makes the task and the network. k: the most columns; rank: of the kinds whose
    rank is given. sae: how a dictionary of the site is trained on the task's prompts; None where none is."""

    network: str
    of: Callable[[], tuple[Any, Any]]
    hypothesis: str | None
    layer: int
    position: str
    k: int
    rank: int
    sizes: Mapping[str, Any]
    sae: Mapping[str, Any] | None = None
    component: str = "block_output"

    @property
    def settings(self) -> dict[str, Any]:
        names = {"hypotheses": [self.hypothesis]} if self.hypothesis else {}
        return {
            **EVERYWHERE, **self.sizes, **names, "layers": [self.layer], "positions": [self.position],
            "components": [self.component],
        }  # fmt: skip

    @property
    def site(self) -> Site:
        return Site(self.layer, self.position, self.component)


def planted(name: str, component: str = "block_output") -> Case:
    """A planted network of a structure."""

    def of() -> tuple[Any, Any]:
        made = STRUCTURES[name].make(0)
        return made.task, made.lm

    small = {"latents": 64, "k": 8, "tokens": 2000, "steps": 100, "batch": 256, "lr": 1e-2}
    return Case(NETWORKS[0], of, None, 0, "last", 8, 2, PLANTED, small, component)


def tagger(hypothesis: str, layer: int, position: str) -> Case:
    """The shipped price tagger."""
    sae = {"latents": 512, "k": 16, "tokens": 50_000, "steps": 400, "batch": 256, "lr": 2e-3}

    def of() -> tuple[Any, Any]:
        return "price_tagging", LM.load("price-tagger-tiny")

    return Case(NETWORKS[1], of, hypothesis, layer, position, 8, 1, PRICES, sae)


def smollm2(task: str, hypothesis: str, layer: int, position: str, rank: int, **more: Any) -> Case:
    """SmolLM2-135M."""
    return Case(NETWORKS[2], lambda: (task, LM.load("smollm2-135m")), hypothesis, layer, position, 32, rank, SMOLLM2, **more)


SAE_135M = {"latents": 1024, "k": 32, "tokens": 10_000, "steps": 300, "batch": 256}
CASES = {
    "plain": planted("plain"),
    "redundant": planted("redundant"),
    "louder": planted("louder distractor"),
    "illusion": planted("illusory", "model.layers.0.1.component"),
    "boundary, layer 1": tagger("left_boundary", 1, "last-12"),
    "boundary, layer 3": tagger("left_boundary", 3, "last"),
    "both boundaries": tagger("left_and_right", 3, "last"),
    "ioi": smollm2("ioi", "position", 17, "giver.last", 13),
    "agreement": smollm2("agreement", "subject", 20, "subject.last", 1),
    "copying": smollm2("copying", "surname", 23, "again.last", 23),
    "countries": smollm2("countries", "continent", 23, "last", 8, sae=SAE_135M),
}

# --- rows ---


def rows_of(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a case, a finder each; those that were refused last."""
    case = CASES[name]
    task, lm = case.of()
    sae = folder / "sae"
    trained = dictionary(case, task, lm, sae) if case.sae else None
    kinds = {finder: kind.format(k=case.k, rank=case.rank, sae=sae) for finder, kind in FINDERS.items()}
    refused = {} if case.sae else {"dictionary": "no dictionary was trained of this site"}
    costs, more = timed(case, task, lm, {finder: kind for finder, kind in kinds.items() if finder not in refused})
    first, *others = [kinds[finder] for finder in costs]
    run = Experiment(task, lm, **case.settings, subspace=first, beside=others).run(folder / "run")
    (entry,) = run.summary["hypotheses"].values()
    judged = {entry["subspace"]: entry, **entry["beside"]}
    for finder, (seconds, captures) in costs.items():
        label = parse_kind(kinds[finder]).label
        row = {"case": name, "finder": finder, "kind": kind_told(label), **figures(judged[label])}
        took = {"seconds": seconds, "captures": captures} | ({"dictionary_seconds": trained} if finder == "dictionary" else {})
        yield row | took | apart(run.summary["comparisons"], entry, label)
    yield from ({"case": name, "finder": finder, "refused": why} for finder, why in (refused | more).items())


def dictionary(case: Case, task: Any, lm: Any, out: Path) -> float:
    """Trains a dictionary of the site on the task's prompts; the processor seconds that it took."""
    return processor(lambda: fit_sae(case.site.spot, lm, load_task(task), out, **case.sae))[0]


def timed(case: Case, task: Any, lm: Any, kinds: Mapping[str, str]) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """The processor seconds of each finder on captures that are there, and those of the captures that it asked for; and why
    some were refused."""
    made = Experiment(task, lm, **case.settings)
    material = made.material()
    search = Search(Remembering(material.engine), material.data, made.schedule, room=2**31)
    costs, refused = {}, {}
    for finder, kind in kinds.items():
        cell = Cell(made.hypotheses[0], case.site, parse_kind(kind))
        try:
            costs[finder] = found([cell], search)[:2]
        except DasError as error:
            refused[finder] = str(error)
    return costs, refused


def kind_told(label: str) -> str:
    """A kind's label, without the checksum of a dictionary."""
    return label.split(" sae.")[0]


def figures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What was found by one kind."""
    card = {name: each for name, each in evidence_figures(entry["scorecard"]).items() if name in FIGURES}
    return {
        "iia": entry["test_iia"], "iia_low": entry["test_ci"][0], "iia_high": entry["test_ci"][1],
        "flip_iia": entry["test_flip_iia"], **card, "size": entry["rank"], "noop": entry["baselines"]["noop"],
        "verdict": entry["verdict"]["verdict"], "why": entry["verdict"]["sentence"],
    }  # fmt: skip


FIGURES = "decoding", "selectivity", "isolate", "ablation", "recovery"
"""Of a scorecard."""


def apart(comparisons: Sequence[Mapping[str, Any]], entry: Mapping[str, Any], label: str) -> dict[str, float]:
    """By how much a kind's IIA is above that of the run's own, with the interval over the same pairs."""
    own = f"{entry['hypothesis']}: {entry['subspace']}"
    for each in comparisons:
        if (each["one"], each["other"]) == (own, label):
            return {"to_first": 0.0 - each["mean"], "low": 0.0 - each["high"], "high": 0.0 - each["low"]}
    return {"to_first": 0.0, "low": 0.0, "high": 0.0}


# --- table and figure ---

COLUMNS = ["case", "finder", "decoding", "selectivity", "iia", "flip_iia", "isolate", "ablation", "recovery", "size", "seconds"]


def told(row: Mapping[str, Any]) -> dict[str, str]:
    """A row as the table has it."""
    if "refused" in row:
        return {"case": row["case"], "finder": row["finder"], "verdict": f"refused: {row['refused']}"}
    texts = {name: f"{row[name]:.3f}" if isinstance(row[name], float) else row[name] or "–" for name in COLUMNS}
    near = f"{row['to_first']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
    return texts | {"size": f"{row['size']:g}", "to first": near, "verdict": row["verdict"]}


STYLES = {
    "nested": ("#0072B2", "o"), "boundless": ("#56B4E9", "o"), "fixed": ("#0072B2", "s"), "neurons": ("#009E73", "D"),
    "dictionary": ("#009E73", "P"), "diffmeans": ("#E69F00", "^"), "probe": ("#D55E00", "v"), "lat": ("#CC79A7", "<"),
    "pca": ("0.35", ">"), "random": ("0.6", "X"), "full": ("0.0", "*"),
}  # fmt: skip
"""Colours of Okabe and Ito, which the colour-blind tell apart, and a mark for each: blue for rotations, green for masks and
latents, warm ones for closed forms, grey and black for what does not go by the variable."""


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Reading against acting, a panel per network, a point per finder and case."""
    panels = by_network(rows)
    drawn = Figure(figsize=(2.2 + 3.2 * len(panels), 4.2), layout="constrained")
    axes = drawn.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, mine) in zip(axes, panels.items(), strict=True):
        for row in mine:
            colour, mark = STYLES[row["finder"]]
            ax.plot(row["selectivity"], row["flip_iia"], mark, color=colour, markersize=9, markeredgecolor="white", alpha=0.8)
        ax.set(title=title, ylim=(-0.05, 1.05))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("acts: IIA on pairs that flip the answer")
    drawn.supxlabel("reads: held-out decoding less that of arbitrary values", fontsize=10)
    shown = {row["finder"] for row in rows}
    for name, (colour, mark) in STYLES.items():
        axes[0].plot([], [], mark, color=colour, markersize=9, markeredgecolor="white", label=name if name in shown else None)
    drawn.legend(loc="outside right center", fontsize=9)
    return drawn


def by_network(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows that have both figures, by the network that their case is of; none without rows."""
    both = [row for row in rows if row.get("selectivity") is not None and row.get("flip_iia") is not None]
    panels = {title: [row for row in both if CASES[row["case"]].network == title] for title in NETWORKS}
    return {title: mine for title, mine in panels.items() if mine}


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--figure", type=Path, help="where to draw reading against acting")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    arguments = parser.parse_args()
    gallery.figures = lambda _: []  # which takes longer than a finder
    rows = gauge.kept_rows(arguments.json)
    for name in [name for name in arguments.cases if name not in {row["case"] for row in rows}]:
        with tempfile.TemporaryDirectory() as folder:
            rows += rows_of(name, Path(folder))
        gauge.write_json(arguments.json, rows)
        print(f"{name}: done", flush=True)
    gauge.table([told(row) for row in rows])
    if arguments.figure:
        figure(rows).savefig(arguments.figure, dpi=150)


if __name__ == "__main__":
    main()
