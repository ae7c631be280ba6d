"""ROME on a language model: facts of countries, layer by layer; what comes of each edit, and did causal tracing foretell it?

    python benchmarks/rome.py --text docs --minutes 5 --json benchmarks/results/smollm2/rome.json

Lets the capital of one country be that of another, by ROME, by its value as an activation, by fine-tuning the same matrix and
by adding the mean difference of the two countries, each by itself, and asks what the causal model of the task `fact_editing`
says should come of it. At the end the same facts are traced: noise on the country, and what is restored at its last token. A
benchmark that was killed, or had no time left, goes on where it was, edit by edit. One thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import pandas as pd
from fact_editing import moves_of

import das
from das.circuits.noise import Noised, ends
from das.circuits.tracing import PROBABILITY, by_noise, cells
from das.draw.axes import share_panels
from das.draw.outcomes import INKS, MARKS, legend_above
from das.edit.memory import KEY, VALUE
from das.interchange.engine import ResumeEngine
from das.interchange.feature import Whole
from das.interchange.score import measured
from das.interchange.selftest import make_engine
from das.judge.claimed_edit import judge_edit
from das.judge.moves import called, distinct, moved, settings_of
from das.judge.outcomes import Questions, shares
from das.network.site import Site
from das.pairs.dataset import Dataset
from das.run.reading import reading
from das.stats import correlation, quantiles
from das.use.claimed import edit_facts
from das.use.editor import Editor, beginnings, moments_of

SHIFTS = ["moved", "follows", "kept"]
METHODS = ("rome", "twin", "tuned", "direction")
POSITION = "country.last"
DRAWS = 2000
AT_ONCE = 5
"""Moves whose questions are found out together."""
KEYS = ("edit", "layer", "method")
TRACED = {"state": ("one layer's state", "-"), "mlp": ("a window of MLPs", "--")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--lm", default="smollm2-135m")
    parser.add_argument("--text", type=Path, required=True, help="a file or folder of text that is read for the covariance")
    parser.add_argument("--tokens", type=int, default=20_000, help="of the text")
    parser.add_argument("--facts", type=int, default=50, help="moves that are drawn")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 6, 10, 14, 18])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--neighbours", type=int, default=3, help="questions about other countries, of each move and shift")
    parser.add_argument("--contexts", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("covariances"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so many no further edit is begun")
    options = parser.parse_args(arguments)
    work = Work(options)
    for _ in work.rows_to_come():
        gauge.write_json(options.json, work.rows, **work.about())
    table: list[Any] = table_of(work.rows).round(3).to_dict("records")
    gauge.table(table)
    if work.traces:
        gauge.table(foretold(work.rows, work.traces))
    judged = verdicts(work.rows, options.layers)
    gauge.table([{key: row[key] for key in ("claim", "verdict")} for row in judged])
    if options.json:
        found = {"foretold": foretold(work.rows, work.traces), "verdicts": judged}
        gauge.write_json(options.json, work.rows, **work.about(), **found)
        draw(work).savefig(options.json.with_suffix(".png"), dpi=110)


class Work:
    """rows: one for each edit, layer, method and kind of question. traces: one for each country and layer."""

    def __init__(self, options: Any) -> None:
        self.options, self.start = options, time.time()
        self.task, self.lm = das.load_task("fact_editing"), das.LM.load(options.lm)
        self.moves = moves_of(self.task, options.facts)
        self.rows = gauge.kept_rows(options.json)
        before = _kept(options.json)
        self.traces, self.spent = before.get("traces", []), before.get("minutes", 0.0)

    def about(self) -> dict[str, Any]:
        o = self.options
        spent = self.spent + (time.time() - self.start) / 60
        asked = {name: getattr(o, name) for name in ("lm", "layers", "tokens", "contexts", "neighbours")}
        facts = len({row["edit"] for row in self.rows})
        return asked | {"text": str(o.text), "facts": facts, "traces": self.traces, "minutes": round(spent, 2)}

    def rows_to_come(self) -> Iterator[None]:
        """Edits one after another, then traces, while there is time."""
        done = {tuple(row[key] for key in KEYS) for row in self.rows}
        every = [(move, n, m) for move in self.moves for n in self.options.layers for m in self.options.methods]
        jobs = [(move, n, m) for move, n, m in every if (called(move), n, m) not in done]
        editor = None
        for move, layer, method in jobs:
            if self.late:
                return
            if editor is None or move not in editor.questions.moves:
                editor = self.editor(move)
            self.rows += counted(editor, method, move, layer)
            yield
        if not self.traces and not self.late:
            self.traces = traced(self.task, self.lm, self.options.layers)
            yield

    @property
    def late(self) -> bool:
        return time.time() - self.start > 60 * self.options.minutes

    def editor(self, move: tuple[str, str]) -> Editor:
        """For a move and the next ones: questions are found out to be known by asking them."""
        at = self.moves.index(move)
        some, n = self.moves[at : at + AT_ONCE], self.options.neighbours
        asked = Questions(self.task, self.lm, "capital", "country", some, POSITION, SHIFTS, ["reverse"], n)
        return Editor(self.engine, asked, self.read[1], self.read[0])

    @cached_property
    def engine(self) -> ResumeEngine:
        found = make_engine(self.lm, components=[KEY, VALUE], layers=self.options.layers)
        assert isinstance(found, ResumeEngine)
        return found

    @cached_property
    def read(self) -> tuple[dict[int, Any], list[str]]:
        """Moments and contexts."""
        o = self.options
        text = reading(o.text, self.lm.tokenizer, o.tokens, 128, 0)
        moments = moments_of(self.engine, o.layers, text, o.cache, lambda _: None)
        return moments, beginnings(text, self.lm.tokenizer, o.contexts)


def counted(editor: Editor, method: str, move: tuple[str, str], layer: int) -> list[dict[str, Any]]:
    """Of an edit, a row for each kind of question, and one that says that it was made."""
    start = time.process_time()
    table, made = editor.answers(method, move, layer)
    head = {"edit": called(move), "layer": layer, "method": method}
    loss = {"loss": round(made.loss[1], 4), "first": round(made.loss[0], 4)} if made.loss else {}
    rows = [head | {"outcome": "made", "seconds": round(time.process_time() - start, 2)} | loss]
    for outcome, each in table.groupby("outcome"):
        sums = {"right": int(each["right"].sum()), "preferred": int(each["preferred"].sum())}
        told = {"preferable": int(each["preferred"].notna().sum()), "probability": round(float(each["probability"].mean()), 5)}
        rows.append(head | {"outcome": outcome, "questions": len(each)} | sums | told)
    return rows


def unfolded(rows: Sequence[dict[str, Any]], what: str = "right") -> pd.DataFrame:
    """A row for each question again, as `shares` takes them."""
    of, found = {"right": "questions", "preferred": "preferable"}[what], []
    for row in rows:
        if row["outcome"] != "made" and row[of]:
            hits = np.arange(row[of]) < row[what]
            found.append(pd.DataFrame({key: row[key] for key in (*KEYS, "outcome")} | {what: hits}))
    return pd.concat(found, ignore_index=True)


def table_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Shares by outcome, method and layer, and over all layers."""
    each = shares(unfolded(rows), ["method", "layer"])
    return pd.concat([shares(unfolded(rows).assign(layer="all"), ["method", "layer"]), each], ignore_index=True)


def verdicts(rows: Sequence[dict[str, Any]], layers: Sequence[int]) -> list[dict[str, Any]]:
    """What may be said of each way to edit at each layer, by the rule of `das edit`. Beside each stands fine-tuning, of as many
    edits as it was done for. What the network does not know was not asked, nor how much that is."""
    made = [row for row in rows if row["outcome"] == "made"]
    about = {
        "hypothesis": "capital", "moves": dict.fromkeys(row["edit"] for row in made), "known": None, "layers": layers,
        "methods": {row["method"] for row in made},
    }  # fmt: skip
    claims = [judge_edit(facts) for facts in edit_facts(about, shares(unfolded(rows), ["method", "layer"]))]
    return [{"claim": each.claim, "verdict": each.verdict, "why": each.sentence} for each in claims]


# --- does tracing foretell where edits work? ---


def traced(task: das.Task, lm: das.LM, layers: Sequence[int]) -> list[dict[str, Any]]:
    """By how much the capital's probability rises when the state, or the MLPs of a window of layers, of the clean run are put
    back at the country under noise: a row for each country and layer."""
    settings = settings_of(task)
    rows = distinct(task, settings)
    rows = rows[settings["question"][rows] == "capital"]
    some = {name: column[rows] for name, column in settings.items()}
    pairs = moved(task.hypothesis("capital"), some, some)
    data = Dataset.make(task, lm.tokenizer, {"capital": pairs}, [POSITION, *ends("country")])
    engine = make_engine(lm, data.shared_prefix())
    assert isinstance(engine, ResumeEngine)
    noised = by_noise(engine, data, "capital")
    corrupt = Noised(engine, "country", noised.prompts)
    wanted = cells(["state", "mlp"], layers, [POSITION], max(1, round(lm.layers / 5)), lm.layers)
    found = measured(corrupt, noised, {cell: ("capital", cell.site, [Whole(1)]) for cell in wanted}, PROBABILITY)
    before = measured(corrupt, noised, {0: ("capital", Site(0, POSITION), [Whole(1).complement])}, PROBABILITY)[0]
    subjects = _subjects(noised, data, some["country"])
    made = []
    for cell in wanted:
        effect = found[cell]["restored"][0] - before["restored"][0]
        by = pd.Series(effect).groupby(subjects).mean()
        made += [{"country": c, "layer": cell.layer, "kind": cell.kind, "effect": round(float(e), 5)} for c, e in by.items()]
    return made


def _subjects(noised: Dataset, data: Dataset, countries: np.ndarray) -> np.ndarray:
    """The country of each pair of a traced data set."""
    of = dict(zip(data.pairs["capital"].base.tolist(), countries.tolist(), strict=True))
    return np.array([of[row] for row in noised.pairs["capital"].base.tolist()])


def foretold(rows: Sequence[dict[str, Any]], traces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The correlation over edits and layers of what tracing finds there with what ROME reaches there, with intervals that draw
    countries anew: as it is, and within layers (less each layer's mean)."""
    of, found = {(t["country"], t["layer"], t["kind"]): t["effect"] for t in traces}, []
    rome = [row for row in rows if row["method"] == "rome"]
    for kind in dict.fromkeys(t["kind"] for t in traces):
        for outcome in ("efficacy", "paraphrase", "neighbourhood"):
            points = pd.DataFrame(_points([row for row in rome if row["outcome"] == outcome], of, kind))
            if len(points) > 2 and points["reached"].nunique() > 1:
                found += [{"traced": kind, "outcome": outcome} | each for each in _correlations(points)]
    return found


def _points(rows: Sequence[dict[str, Any]], of: dict[Any, float], kind: str) -> Iterator[dict[str, Any]]:
    """What tracing finds and what is reached, of each edit and layer."""
    for row in rows:
        country, layer = row["edit"].split(" → ")[0], row["layer"]
        if (country, layer, kind) in of:
            reached = row["right"] / row["questions"]
            yield {"country": country, "layer": layer, "trace": of[country, layer, kind], "reached": reached}


def _correlations(points: pd.DataFrame) -> Iterator[dict[str, Any]]:
    by_layer = points.groupby("layer")[["trace", "reached"]]
    apart = points.assign(**(points[["trace", "reached"]] - by_layer.transform("mean")))
    for how, each in (("over all", points), ("within layers", apart)):
        low, high = quantiles(np.array(list(_drawn(each))))
        r = float(correlation(*each[["trace", "reached"]].to_numpy(float).T))
        yield {"how": how, "r": round(r, 3), "low": round(low, 3), "high": round(high, 3), "points": len(each)}


def _drawn(points: pd.DataFrame) -> Iterator[float]:
    """The correlation in draws of countries, with replacement."""
    groups = [each[["trace", "reached"]].to_numpy(float) for _, each in points.groupby("country")]
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        some = np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        yield float(correlation(*some.T))


# --- what is drawn ---


def draw(work: Work) -> Any:
    """Shares by layer, a panel for each kind of question, and what tracing finds at the same layers."""
    return by_layer_figure(shares(unfolded(work.rows), ["method", "layer"]), mean_traces(work.traces))


def mean_traces(traces: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Over countries."""
    every = pd.DataFrame(traces, columns=["country", "layer", "kind", "effect"])
    return every.groupby(["kind", "layer"], sort=False)["effect"].mean().reset_index()


def by_layer_figure(shares: pd.DataFrame, traces: pd.DataFrame) -> Any:
    """A panel for each outcome: shares with their 95 % intervals, a line for each method; and one of what tracing brings back,
    a probability. shares: see `das.judge.outcomes.shares`; traces: `kind`, `layer`, `effect`."""
    panels: list[Any] = [(name, each) for name, each in shares.groupby("outcome", sort=False)]
    panels += [("what tracing brings back", traces)] if len(traces) else []

    def panel(ax: Any, table: pd.DataFrame) -> None:
        if "effect" in table:
            for kind, each in table.groupby("kind", sort=False):
                label, style = TRACED[str(kind)]
                ax.plot(each["layer"], each["effect"], style, color="#000000", marker=".", label=label)
            ax.legend(fontsize=7.5, frameon=False)
            return
        methods = list(dict.fromkeys(table["method"]))
        for i, method in enumerate(methods):
            own = table[table["method"] == method].sort_values("layer")
            at = own["layer"] + 0.3 * (i - (len(methods) - 1) / 2)
            ax.vlines(at, own["low"], own["high"], color=INKS[method], linewidth=1)
            ax.plot(at, own["share"], "-", marker=MARKS[method], color=INKS[method], markersize=4, linewidth=1, label=method)

    figure = share_panels(panels, panel, (2.3, 3.0), "share answered as it should be", "layer")
    legend_above(figure)
    return figure


def _kept(path: Path | None) -> dict[str, Any]:
    return json.loads(path.read_text()) if path and path.exists() else {}


if __name__ == "__main__":
    main()
