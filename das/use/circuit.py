"""Circuit: the edges by which a variable reaches a network's answer, chosen, and judged by interchange (see `das.circuits`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from das.circuits.choosing import ENOUGH
from das.circuits.flow import flow
from das.circuits.replaced import SWAPS
from das.errors import DasError, unknown
from das.ground.checks import number, whole
from das.ground.storage import remove, write, write_json
from das.judge.claimed_circuit import judge_circuit
from das.judge.claims import Claim
from das.progress import Reporter, silent
from das.run.begun import Parts
from das.run.experiment import Experiment
from das.run.folder import FREE, NAMED
from das.run.material import SPLITS
from das.run.settings import name_of
from das.text import aligned
from das.use.circuit_search import NETWORK, RANDOM, CircuitSearch, Method, Searched
from das.use.claimed import circuit_facts
from das.use.finding import Judged
from das.use.flipping import Flipping, flipping, variable_of
from das.use.heads import heads
from das.use.one_hypothesis import one_hypothesis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = "eap-ig", "eap", "acdc"
UNFINISHED = "unfinished"
"""In a circuit's folder, what is finished of a search that is not."""
SHOWN, LISTED, DRAWN = 12, 1000, 300
"""Edges that the text names, that the JSON file lists, and that the picture has: the strongest of the circuit's."""


@dataclass(frozen=True)
class Circuit(Judged):
    """table: a row for each edge (see `Graph.table`) with its `score`, by how much its swap moves the logit difference towards
    the source's answer, and that at each position, `score@POSITION`; whether it is `kept` in the circuit; and for those its
    `loss`, the share of the logit difference that is lost when it is cut from the circuit. curve: a row for each circuit that
    was tried on validation pairs, its `kind` and what `Trial.rows` says. test: the same on test pairs of the circuit chosen
    and of nulls of its size. flow: see `das.circuits.flow`. tokens: position → the token there in an example prompt. about:
    task, hypothesis, lm, method, swap, threshold, edges (how many there are), asked, pairs by split; of the test pairs
    accuracy, rivals and changed (see `das.judge.claimed_circuit`), and the roles of heads, where they are known (see
    `das.circuits.roles`); made_from, see `das.run.provenance`."""

    stem: ClassVar[str] = "circuit"

    table: pd.DataFrame
    curve: pd.DataFrame
    test: pd.DataFrame
    flow: pd.DataFrame
    tokens: dict[str, str]
    about: dict[str, Any]

    @property
    def kept(self) -> pd.DataFrame:
        """The circuit's edges, the highest score first."""
        mine = self.table[self.table["kept"]]
        return mine.loc[mine["score"].abs().sort_values(ascending=False, kind="stable").index].reset_index(drop=True)

    @property
    def verdicts(self) -> list[Claim]:
        """What may be said of it, one claim."""
        return [judge_circuit(circuit_facts(self.about, self.test, self.kept))]

    @property
    def title(self) -> str:
        """Of text and pictures."""
        a, kept = self.about, int(self.table["kept"].sum())
        return f"{a['hypothesis']} in {a['lm']}: a circuit of {kept:,} of {a['edges']:,} edges ({a['method']})"

    def text(self) -> str:
        """What it carries beside the nulls, on test pairs, and its strongest edges."""
        head = ("circuit", "edges", "pairs", "faithfulness (95 %)", "completeness (95 %)", "logit, faithful", "logit, complete")
        rows = [head, *(_told(row) for row in self._tested())]
        edges = [("edge", "score", "loss", "mostly at", "role of the head")]
        for row in self.kept.head(SHOWN).to_dict("records"):
            loss = "" if np.isnan(row["loss"]) else f"{row['loss']:.3f}"
            role = self.about["roles"].get(row["writer"], "")
            edges.append((f"{row['writer']} → {row['reader']}", f"{row['score']:+.3f}", loss, row["at"], role))
        enough = (
            "" if self.about["enough"] else f"\nNo circuit short of all edges keeps {self.about['threshold']:g} of the answers."
        )
        passes = f"\n\n{aligned([*self._passes()])}" if len(self.flow) else ""
        return f"{self.title}{enough}\n\n{aligned(rows)}\n\n{aligned(edges)}{passes}\n\n{self.judged}"

    def _passes(self) -> Iterator[tuple[str, ...]]:
        """The position by which most passes each layer's output, over all edges and over the circuit's."""
        yield "past layer", "mostly at", "share", "of the circuit's"
        best = self.flow.loc[self.flow.groupby("layer")["share"].idxmax()]
        for row in best.to_dict("records"):
            yield str(row["layer"]), row["position"], f"{row['share']:.2f}", f"{row['circuit']:.2f}"

    def _tested(self) -> list[dict[Any, Any]]:
        """The test's rows; of random circuits the most faithful."""
        best = self.test.sort_values("faithfulness", ascending=False, kind="stable").drop_duplicates("kind")
        drawn = int((self.test["kind"] == RANDOM).sum())
        named = {RANDOM: f"random, best of {drawn}", NETWORK: "chosen"}
        return best.replace({"kind": named}).sort_index().to_dict("records")

    def figure(self) -> Figure:
        """The circuit, layers upwards."""
        from das.draw.circuit import circuit_figure

        drawn, title = self.kept.head(DRAWN), self.title
        title += f": its {DRAWN} strongest" if len(drawn) < len(self.kept) else ""
        return circuit_figure(drawn, self.about["graph"], self.tokens, self.about["roles"], title)

    def curve_figure(self) -> Figure:
        """Faithfulness and completeness against the number of edges."""
        from das.draw.circuit import curve_figure

        return curve_figure(self.curve, self.test, self.about, self.title)

    def plain(self) -> dict[str, Any]:
        """All of it as plain data but for the edges outside."""
        tables = {"test": self.test, "curve": self.curve, "flow": self.flow, "circuit": self.kept.head(LISTED)}
        return (
            self.about
            | {"verdicts": [claim.plain() for claim in self.verdicts], "tokens": self.tokens}
            | {name: each.to_dict("records") for name, each in tables.items()}
        )

    def write(self, folder: str | Path) -> list[Path]:
        """circuit.json, edges.parquet with every edge, and the pictures circuit.png and curve.png; removes
        what the search has kept there."""
        to = Path(folder)
        paths = [to / name for name in ("circuit.json", "edges.parquet", "circuit.png", "curve.png")]
        write_json(paths[0], self.plain())
        write(paths[1], lambda made: self.table.to_parquet(made, index=False))
        write(paths[2], lambda made: self.figure().savefig(made, dpi=150))
        write(paths[3], lambda made: self.curve_figure().savefig(made, dpi=150))
        remove(to / UNFINISHED)
        return paths


def _told(row: dict[Any, Any]) -> tuple[str, ...]:
    def between(name: str) -> str:
        return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"

    logits = [f"{row[f'{name}_logit']:.2f}" for name in ("faithfulness", "completeness")]
    return row["kind"], f"{row['edges']:,}", str(row["pairs"]), between("faithfulness"), between("completeness"), *logits


def circuit(
    task: Any, lm: Any, hypothesis: str | None = None, *, variable: str | None = None, method: str = "eap-ig", steps: int = 5,
    swap: str = "source", threshold: float = ENOUGH, cut_below: float = 0.01, pairs: int = 128, draws: int = 5,
    report: Reporter = silent, folder: str | Path | None = None, **settings: Any,
) -> Circuit:  # fmt: skip
    """The smallest circuit found by which a hypothesis' variable reaches the answer, judged by swapping edges.

    hypothesis: by default the task's first. variable: by default its first. method: how edges are scored: `eap-ig` (Hanna et
    al. 2024, arXiv 2403.17806) or `eap` (Syed et al. 2023, arXiv 2310.10348) by gradients, or `acdc` (Conmy et al. 2023, arXiv
    2304.14997) by cutting one after another, where there are few. steps: of `eap-ig`. swap: what an edge carries that is
    swapped: what its node adds in the `source`'s run, or `zero`, or the `mean`. threshold: the least that the lower end of
    faithfulness may be. cut_below: of `acdc`, the share of the logit difference that an edge must be worth. pairs: how many
    are drawn for each of scoring, choosing and testing; those are used whose tokens line up and of which the network answers
    both prompts. draws: random circuits on test pairs. folder: where finished parts are kept, in `unfinished`, so that a
    search that is killed goes on with them when it is asked for again; `Circuit.write` into it removes them. settings: others
    of `das.Settings`, such as positions, families (by default pairs in which nothing changes but the variable's causes), under,
    seed, device.

    DasError where the network cannot be resumed, or does not add up its parts as a circuit needs it.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if swap not in SWAPS:
        raise unknown("swap", swap, SWAPS)
    least, random = number("threshold", threshold, 0, 1, above=True), whole("draws", draws, 0, 1000)
    steps, cut_below = whole("steps", steps, 1, 1000), number("cut_below", cut_below, 0, 1)
    asked = one_hypothesis(task, lm, hypothesis, pairs, SPLITS, **settings)
    name = variable_of(asked, variable)
    drawn = settings.get("families") is not None
    own = {"variable": name, "method": method, "steps": steps, "swap": swap, "threshold": least, "cut_below": cut_below}
    with _parts(folder, asked, own | {"draws": random, "drawn": drawn}) as parts:
        found = flipping(asked, name, drawn, whole=swap != "source")
        by = Method(method, steps, swap, cut_below, asked.positions)
        search = CircuitSearch(by, least, random, asked.settings.seed, report, parts)
        searched = search.searched(found.engine, found.splits)
    about: dict[str, Any] = {"task": asked.task.name, "hypothesis": f"{asked.hypotheses[0]}.{name}", "lm": found.engine.lm.name}
    about |= {"method": method, "swap": swap, "threshold": least, "made_from": asked.made} | _pairs(found)
    about["roles"] = _roles(asked, found)
    return _circuit(searched, about, asked.task.tokens_at(asked.tokenizer, asked.positions))


def _roles(asked: Experiment, found: Flipping) -> dict[str, str]:
    """Head → its role in the test pairs' bases, of those that have one; nothing where nobody knows (see `das.use.heads`)."""
    test = found.splits["test"]
    try:
        table = heads(found.engine.lm, asked, found.base, test.answer, test.other, test.bootstrap()).table
    except DasError:
        return {}
    return {f"head {row['layer']}.{row['head']}": row["role"] for row in table.to_dict("records") if row["role"]}


@contextmanager
def _parts(folder: str | Path | None, asked: Experiment, own: dict[str, Any]) -> Iterator[Parts]:
    """Where the parts of a search are kept; of one without a folder, as long as it runs. own: the settings of circuits."""
    settings = {name: value for name, value in asked.settings.plain().items() if name not in {*FREE, *NAMED}}
    with ExitStack() as stack:
        at = stack.enter_context(TemporaryDirectory()) if folder is None else folder
        parts = Parts(Path(at) / UNFINISHED, settings | own, asked.made, name_of(asked.settings.lm))
        stack.enter_context(parts.held())
        yield parts


def _pairs(found: Flipping) -> dict[str, Any]:
    """What is to be said of the pairs."""
    known = found.splits["test"].accuracy
    sizes = {split: len(some) for split, some in found.splits.items()}
    return {"pairs": sizes, "accuracy": known and asdict(known), "rivals": found.rivals, "changed": found.changed}


def _circuit(searched: Searched, about: dict[str, Any], tokens: dict[str, str]) -> Circuit:
    graph, kept, seen = searched.subject.streams.graph, searched.chosen.kept, searched.subject.scored.seen
    table = graph.table()
    at = table["edge"].to_numpy()
    table["score"], table["kept"] = seen.scores.ravel()[at], kept.ravel()[at]
    for position, scores in seen.at.items():
        table[f"score@{position}"] = scores.ravel()[at]
    table["loss"] = np.nan if searched.losses is None else np.where(table["kept"], searched.losses.ravel()[at], np.nan)
    table["at"] = _mostly(table, list(seen.at))
    about |= {"edges": len(graph), "graph": asdict(graph), "enough": searched.chosen.enough, "asked": searched.chosen.asked}
    return Circuit(table, searched.curve, searched.test, flow(graph, seen, kept), tokens, about)


def _mostly(table: pd.DataFrame, positions: list[str]) -> Any:
    """The position that most of each edge's score is due to; empty where that is less than half of it."""
    if not positions:
        return ""
    parts = table[[f"score@{position}" for position in positions]].to_numpy()
    best = np.abs(parts).argmax(1)
    most = np.abs(parts[np.arange(len(parts)), best]) >= np.abs(table["score"].to_numpy()) / 2
    return np.where(most, np.array(positions)[best], "")
