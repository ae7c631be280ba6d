"""Editing: facts of a task written into a network's weights, and what comes of it (see `das.edit.rome`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from das.edit.memory import KEY, VALUE
from das.edit.patch import Patch
from das.edit.rome import Settings
from das.errors import DasError, unknown
from das.ground.checks import whole
from das.interchange.selftest import make_engine
from das.judge.claimed_edit import judge_edit
from das.judge.claims import Claim
from das.judge.moves import Move, settings_of
from das.judge.outcomes import OUTCOMES, Questions, shares
from das.network.given import Given
from das.network.lm import LM
from das.progress import Reporter, silent
from das.run.provenance import provenance
from das.run.reading import reading
from das.task.files import load_task
from das.task.task import Task
from das.text import aligned
from das.use.claimed import edit_facts
from das.use.editor import METHODS, Editor, beginnings, moments_of
from das.use.finding import Judged
from das.use.one_hypothesis import resumed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Edited(Judged):
    """table: a row per question, method and layer, see `das.judge.outcomes.answers`. patches: (method, move in words, layer) →
    what was done to the weights. about: task, lm, hypothesis, moves, methods, layers, position, text, contexts; known, the
    share of the questions that edits are made on which the network knows; made_from, see `das.run.provenance`."""

    stem: ClassVar[str] = "edit"

    table: pd.DataFrame
    patches: Mapping[tuple[str, str, int], Patch] = field(repr=False)
    about: dict[str, Any]

    def shares(self, what: str = "right") -> pd.DataFrame:
        """See `das.judge.outcomes.shares`, by method and layer."""
        return shares(self.table, ["method", "layer"], what)

    @property
    def verdicts(self) -> list[Claim]:
        """What may be said of each way to edit at each layer."""
        return [judge_edit(facts) for facts in edit_facts(self.about, self.shares())]

    def text(self) -> str:
        """The share of questions that are answered as they should be, by outcome and method."""
        a = self.about
        head = f"{a['hypothesis']} of {len(a['moves'])} moves in {a['lm']}: the share of questions answered as they should be"
        rows: list[tuple[str, ...]] = [("outcome", "", "method", "layer", "share (95 %)", "questions")]
        before = ""
        for row in self.shares().to_dict("records"):
            share = f"{row['share']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            what = ("", "") if row["outcome"] == before else (row["outcome"], OUTCOMES[row["outcome"]])
            rows.append((*what, row["method"], str(row["layer"]), share, str(row["questions"])))
            before = row["outcome"]
        return "\n\n".join(filter(None, [head, aligned(rows), self.judged]))

    def figure(self) -> Figure:
        """Shares by outcome, a mark for each method; a panel for each layer."""
        from das.draw.outcomes import outcomes_figure

        return outcomes_figure(self.shares(), {name: METHODS[name] for name in self.table["method"].unique()})

    def plain(self) -> dict[str, Any]:
        """All of it as plain data, but for the patches."""
        tables = {"shares": self.shares().to_dict("records"), "questions": self.table.to_dict("records")}
        return self.about | {"verdicts": [claim.plain() for claim in self.verdicts]} | tables

    def write(self, folder: str | Path) -> list[Path]:
        """Beside what every finding writes, a patch for each edit of weights: METHOD-L06-000.safetensors, numbered by move."""
        paths, moves = super().write(folder), [f"{old} → {new}" for old, new in self.about["moves"]]
        for (method, move, layer), patch in self.patches.items():
            paths.append(patch.save(Path(folder) / f"{method}-L{layer:02}-{moves.index(move):03}.safetensors"))
        return paths


def edits(
    task: Any, lm: Any, hypothesis: str | None = None, *, text: Any, input: str | None = None, moves: Sequence[Move] = (),
    count: int = 4, layers: int | Sequence[int] | None = None, position: str | None = None,
    methods: Sequence[str] = ("rome", "twin"), shifts: Sequence[str] | None = None, reverse: Sequence[str] | None = None,
    neighbours: int = 12, tokens: int = 20_000, context: int = 128, contexts: int = 3, cache: str | Path | None = None,
    seed: int = 0, dtype: str = "float32", device: str = "auto", search: Settings | None = None, report: Reporter = silent,
) -> Edited:  # fmt: skip
    """Writes facts into the weights of one MLP, each by itself, and asks what the causal model says should come of it (ROME,
    Meng et al. 2022, arXiv 2202.05262; see docs/rome.md). The network is as it was at the end.

    hypothesis: whose variable is set to another value, by default the task's first. input: what it is moved with; by default
        the one input that it is computed from. moves: pairs of its values, as [("France", "Italy")]; by default `count` drawn.
    text: what the network reads for the keys' second moment and the contexts: a file or folder of text, or a task. tokens:
        of it, at most; context: read together. cache: a folder in which moments are kept.
    layers: whose MLP is edited, each by itself; by default one at a fourth of the depth. position: the subject's last token, by
        default that of the input. contexts: how many beginnings of the text stand before a question in turn.
    methods: `rome`, `twin` (the value as an activation), `tuned` (the same matrix, fine-tuned), `direction` (the two subjects'
        mean difference, added), `none`.
    shifts: under which questions are put beside the task's own, by default all; reverse: those of them that name the new value
        and ask for the subject, by default one that is called `reverse`. neighbours: questions about others for each move and
        shift.
    DasError where the network cannot be resumed, or its MLP does not write by one plain matrix.
    """
    asked, network = load_task(task), Given(lm, dtype, device)
    name = hypothesis or next(iter(asked.hypotheses))
    mover = input or _input(asked, name)
    for method in methods:
        if method not in METHODS:
            raise unknown("way to edit", method, METHODS)
    chosen = _layers(layers, network.layers)
    turned = _reverse(asked, reverse)
    put = [shift for shift in (asked.shifts if shifts is None else shifts) if shift not in turned]
    made = list(moves) or _drawn(asked, name, mover, whole("count", count, 1, 10_000), seed)
    questions = Questions(asked, network.lm, name, mover, made, position or f"{mover}.last", put, turned, neighbours)
    read = reading(text, network.tokenizer, tokens, context, seed)
    editor = _editor(questions, chosen, read, contexts, cache, search or Settings(), report)
    tables, patches = _made(editor, methods, chosen, report)
    about = {"lm": network.lm.name, "methods": list(methods), "layers": chosen, "text": read.name} | _about(editor)
    about |= {"made_from": provenance(asked, network.tokenizer, network.printed, ())}
    return Edited(pd.concat(tables, ignore_index=True), patches, about)


def _about(editor: Editor) -> dict[str, Any]:
    """What is to be said of what is asked."""
    q, tokens = editor.questions, next(iter(editor.moments.values())).tokens
    about = {"task": q.task.name, "hypothesis": q.task.full_name(q.hypothesis), "input": q.input, "position": q.position}
    moves = [list(map(str, move)) for move in q.moves]
    return about | {"moves": moves, "known": editor.known, "tokens": tokens, "contexts": list(editor.contexts)}


def _editor(
    questions: Questions, layers: Sequence[int], read: Any, contexts: int, cache: Any, search: Settings, report: Reporter
) -> Editor:  # fmt: skip
    lm: LM = questions.lm
    engine = resumed(make_engine(lm, components=[KEY, VALUE], layers=layers), "an edit")
    with report.task("covariance", 1.0) as step:
        moments = moments_of(engine, layers, read, cache, lambda done: step(done, f"{read.batches} batches"))
    before = beginnings(read, lm.tokenizer, whole("contexts", contexts, 0, 100))
    return Editor(engine, questions, before, moments, search)


def _made(editor: Editor, methods: Sequence[str], layers: Sequence[int], report: Reporter) -> tuple[list[Any], dict[Any, Any]]:
    """The tables of all edits, and their patches."""
    moves, tables, patches = editor.questions.moves, [], {}
    jobs = [(method, move, layer) for move in moves for layer in layers for method in methods]
    with report.task("edits", len(jobs)) as step:
        for i, (method, move, layer) in enumerate(jobs):
            table, made = editor.answers(method, move, layer)
            tables.append(table)
            if made.patch:
                patches[method, f"{move[0]} → {move[1]}", layer] = made.patch
            step(i + 1, "")
    return tables, patches


# --- what is not said ---


def _input(task: Task, name: str) -> str:
    """The one input that a hypothesis' variable is computed from."""
    hypothesis = task.hypothesis(name)
    causes = [each for each in task.model.inputs.names if each in hypothesis.model.causes(hypothesis.variables[0])]
    if len(causes) != 1:
        raise DasError(f"{name} is computed from {', '.join(causes) or 'no input'}: say which is moved, input=…")
    return causes[0]


def _layers(given: int | Sequence[int] | None, depth: int) -> list[int]:
    chosen = [depth // 4] if given is None else [given] if isinstance(given, int) else list(given)
    return [whole("layer", layer, 0, depth - 1) for layer in chosen]


def _reverse(task: Task, given: Sequence[str] | None) -> list[str]:
    if given is None:
        return [shift for shift in task.shifts if shift == "reverse"]
    for shift in given:
        if shift not in task.shifts:
            raise unknown("shift", shift, list(task.shifts))
    return list(given)


def _drawn(task: Task, name: str, mover: str, count: int, seed: int) -> list[Move]:
    """Moves between values of the input under which the variable differs."""
    hypothesis, settings = task.hypothesis(name), settings_of(task)
    table = hypothesis.model.run(settings)
    frame = pd.DataFrame({"value": table[mover], "is": table[hypothesis.variables[0]]}).drop_duplicates("value")
    pairs = [(a, b) for a, x in frame.itertuples(index=False) for b, y in frame.itertuples(index=False) if x != y]
    if not pairs:
        raise DasError(f"{hypothesis.variables[0]} is the same under all values of {mover}: there is nothing to edit")
    order = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [pairs[i] for i in order]
