"""Task: a prompt, the hypotheses about how a network solves it, and the shifts under which they should hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, concat, differ, joined, take
from das.causal.model import CausalModel
from das.errors import DasError, shown, unknown
from das.ground.checks import distinct, fitted, named
from das.task.answers import Answers
from das.task.asked import KNOWN, Asked, ask, drawn
from das.task.brought import Brought, answers_of
from das.task.form import Form
from das.task.hypothesis import Hypothesis, remodelled
from das.task.identity import identities
from das.task.plain_shifts import check_names, parse_shift
from das.task.positions import Position, expand_positions, single_positions
from das.task.rendered import Prompts, Rendered
from das.task.shifts import Shift
from das.task.texts import Texts
from das.task.tokenizer import Tokenizer
from das.task.variant import BASE, Change, Variant


@dataclass(frozen=True)
class Task:
    """What a network is asked, and how it might find the answer.

    hypotheses: name → Hypothesis; all their models must answer alike (`check` holds them to it).
    positions: where alignments are tried by default, in prompt order.
    shifts: name → the same question put differently; siblings: name → other questions over the same inputs, which
        `fit-lm` can train on beside it.
    measures: name → a function of a `das.interchange.reply.Reply` that gives a number for each copy and pair, for the settings
        `measures` and `loss`.
    pairs: hypothesis → pairs that were brought for it (see `das.own_task` and `das.with_pairs`), and are not drawn.
    """

    prompt: Form
    hypotheses: Mapping[str, Hypothesis]
    positions: Sequence[str] = ("last",)
    shifts: Mapping[str, Change] = field(default_factory=dict)
    siblings: Mapping[str, Change] = field(default_factory=dict)
    name: str = "task"
    measures: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    pairs: Mapping[str, Brought] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, Form):
            raise DasError(f"the prompt of a task is {shown(self.prompt)}: expected a das.Prompt, or das.Tensors")
        self._check_named("hypotheses", Hypothesis)
        if not self.hypotheses:
            raise DasError("a task needs at least one hypothesis")
        named("a task", self.name, also=" .")
        for name in self.hypotheses:
            named("a hypothesis", name, also=" ")
        distinct("hypotheses", list(self.hypotheses))
        expand_positions(self.positions)
        for name in ("shifts", "siblings"):
            self._check_named(name, Change)
        for name, function in self.measures.items():
            named("a measure", name)
            if not callable(function):
                raise DasError(f"measure {name!r} is {shown(function)}: expected a function of a reply")
        check_names([*self.shifts])
        fields = [name for name in self.prompt.fields if name in self.model.variables]
        missing = set(self.model.inputs.names) - set(fields).union(*map(self.model.causes, fields))
        if missing and not self.own:
            raise DasError(f"input {sorted(missing)[0]!r} is not a field of the template: the network never sees it")

    def _check_named(self, name: str, kind: type[Any]) -> None:
        """DasError unless the field is a mapping from texts to objects of a class."""
        given = getattr(self, name)
        if not isinstance(given, Mapping):
            raise DasError(f"{name} of a task are {shown(given)}: expected a mapping from names to das.{kind.__name__}")
        for label, value in given.items():
            fitted(f"a name among {name}", label, str)
            if not isinstance(value, kind):
                raise DasError(f"{label!r} among {name} is {shown(value)}: expected a das.{kind.__name__}")

    @property
    def model(self) -> CausalModel:
        """The causal model that gives the right answers: the first hypothesis'."""
        return next(iter(self.hypotheses.values())).model

    def hypothesis(self, name: str) -> Hypothesis:
        """By its name, with or without the variables: `left_boundary` or `left_boundary.above_lower`."""
        short = fitted("a hypothesis", name, str).split(".")[0]
        if short not in self.hypotheses or name not in (short, self.full_name(short)):
            raise unknown("hypothesis", name, [*self.hypotheses, *map(self.full_name, self.hypotheses)])
        return self.hypotheses[short]

    def short_names(self, names: Sequence[str] | None) -> list[str]:
        """Of hypotheses, given with or without their variables; of all where none is given."""
        return [name.split(".")[0] for name in names or self.hypotheses if self.hypothesis(name)]

    def full_name(self, name: str) -> str:
        """`left_boundary` → `left_boundary.above_lower`."""
        return f"{name}.{'+'.join(self.hypotheses[name].variables)}"

    def rivals(self, name: str) -> list[Hypothesis]:
        """The task's other hypotheses."""
        return [hypothesis for other, hypothesis in self.hypotheses.items() if other != name]

    def variant(self, shift: Any, tokenizer: Tokenizer | None = None) -> Variant:
        """Prompt, inputs and answering model of `base`, of a sibling by its name, or of a shift, given as `parse_shift` reads
        it. tokenizer: whose chat template is used."""
        change = parse_shift(shift, {BASE: Shift(), **self.shifts, **self.siblings})
        variant = change.apply(Variant(self.prompt, self.model.inputs, self.model), tokenizer)
        if self.pairs and variant.inputs is not self.model.inputs:
            raise DasError("this shift draws other inputs, but pairs were brought with the task: shift its words alone")
        return variant

    def under(self, shift: Any, tokenizer: Tokenizer | None = None) -> Task:
        """The same task under a shift (see `variant`): its prompt, and its hypotheses over its inputs."""
        variant = self.variant(shift, tokenizer)
        if variant.model is not self.model:
            raise DasError("this shift asks another question (it has a model of its own): what aligns here says nothing of it")
        hypotheses = remodelled(self.hypotheses, lambda model: model.over(variant.inputs))
        return replace(self, prompt=variant.prompt, hypotheses=hypotheses)

    def draw(
        self, variant: str, tokenizer: Tokenizer, rng: np.random.Generator, n: int, alone: bool = False
    ) -> Asked:  # fmt: skip
        """`n` drawn prompts of a variant (see `variant`) and what answers them. alone: see `das.task.asked.ask`."""
        asked = self.variant(variant, tokenizer)
        return ask(asked, asked.inputs.sample(rng, n), tokenizer, alone)

    def encode(self, inputs: Columns, tokenizer: Tokenizer, positions: Sequence[str] = ()) -> Prompts:
        """The prompts of the given input rows as a network takes them, with named positions resolved."""
        return self.render(inputs).encode(tokenizer, positions)

    def render(self, inputs: Columns) -> Rendered:
        """The prompts of the given input rows."""
        return self.prompt.render(self._shown(inputs))

    def _shown(self, inputs: Columns) -> Columns:
        return self.model.run(inputs) if set(self.prompt.needed) - set(inputs) else inputs

    def answer_tokens(self, outputs: Column, inputs: Columns, tokenizer: Tokenizer) -> NDArray[np.int64]:
        """The token that the answer to each row of the output column begins with; `inputs` gives one prompt to put before
        it."""
        return self.prompt.answer_tokens(outputs, self._one(inputs), tokenizer)

    def spelled(
        self, outputs: Column, inputs: Columns, tokenizer: Tokenizer, known: Column | None = None
    ) -> tuple[Answers, NDArray[np.int64]]:
        """How answers are read, and the number of the answer to each row of the output column; `inputs` gives one prompt to put
        before them. known: outputs that answers are compared with beside those of drawn prompts: where several tables of pairs
        are to be read alike, those of all."""

        def others() -> Column:
            drawn_ones = self.outputs(drawn(self.model.inputs))
            return drawn_ones if known is None else joined([drawn_ones, known])

        return self.prompt.spelled(outputs, self._one(inputs), tokenizer, others)

    def _one(self, inputs: Columns) -> Rendered:
        """The prompt of the first row."""
        return self.render({name: column[:1] for name, column in inputs.items()})

    def example(self, seed: int = 0) -> Rendered:
        """A drawn prompt."""
        return self.render(self.model.sample(np.random.default_rng(seed), 1))

    def show(self, tokenizer: Tokenizer, positions: Sequence[str] | None = None, seed: int = 0) -> str:
        """A drawn prompt, one of each template if there are several, with the tokens at the positions marked."""
        specs = expand_positions(self.positions if positions is None else positions)
        n = 1 if self.prompt.ways == 1 else KNOWN
        drawn = self.render(self.model.sample(np.random.default_rng(seed), n))
        return "\n\n".join(drawn.take(row).show(tokenizer, specs) for row in drawn.ways)

    @property
    def own(self) -> bool:
        """Whether its prompts are a user's own texts."""
        return any(brought.texts for brought in self.pairs.values())

    @property
    def answered(self) -> bool:
        """Whether it is known how every prompt by itself is answered."""
        if self.model.complete:
            return True
        found = [answers_of(self.hypotheses[name], some) for name, some in self.pairs.items()]
        return all(value is not None for each in found for role in ("base_label", "source_label") for value in each[role])

    def some(self, n: int) -> Columns:
        """Settings to be looked at: `n` drawn ones, and all that were brought; of own texts those alone."""
        brought = [some.prompts for some in self.pairs.values()]
        return concat(brought if self.own else [self.model.sample(np.random.default_rng(0), n), *brought])

    def outputs(self, inputs: Columns) -> Column:
        """Answers on the given rows, and counterfactual ones under every hypothesis with the rows as each other's sources:
        a hypothesis may call for answers that no prompt has. Beside them those of the pairs that were brought."""
        brought = [column for name, some in self.pairs.items() for column in answers_of(self.hypotheses[name], some).values()]
        if not self.model.complete:
            listed = joined(brought)
            return listed[[value is not None for value in listed]]
        sources = {name: np.roll(column, 1) for name, column in inputs.items()}
        answers = [self.model.run(inputs)[self.model.output]]
        for hypothesis in self.hypotheses.values():
            swapped = hypothesis.model.interchange(inputs, dict.fromkeys(hypothesis.variables, sources))
            answers.append(swapped[hypothesis.model.output])
        return joined([*answers, *brought])

    def tokens_at(self, tokenizer: Tokenizer, positions: Sequence[str], seed: int = 0) -> dict[str, str]:
        """Position → the text of its token in a drawn prompt, in the order of the prompt."""
        return self.example(seed).at(tokenizer, positions)

    def check(self, tokenizer: Tokenizer, positions: Sequence[str] | None = None, n: int = 500) -> None:
        """DasError unless the task can be run: hypotheses that answer alike and always the same, one answer to a text,
        answers that can be told apart, fields and positions that exist. Looks at `n` drawn prompts, and all that were brought;
        needs no weights. Shifts are not looked at (see `check_shift`).
        """
        drawn = self.some(n)
        for name, hypothesis in self.hypotheses.items():
            _check_steady(name, hypothesis.model, drawn)
            if row := self.model.difference(hypothesis.model, n=n):
                raise DasError(
                    f"hypothesis {name!r} does not answer as the first hypothesis does on {row}: all hypotheses of a task give "
                    "the same answers, and differ in what they compute on the way; one that answers otherwise is no rival"
                )
        asked, where = self.variant(BASE), self.positions if positions is None else positions
        try:
            _check_asked(asked, drawn, self.outputs(drawn), tokenizer, where)
            identities(asked, self.hypotheses.values(), tokenizer, drawn)
        except DasError as error:
            raise DasError(f"prompt: {error}") from error

    def check_shift(self, shift: Any, tokenizer: Tokenizer, positions: Sequence[str] = (), n: int = 500) -> None:
        """DasError unless the question can be put under a shift: known words, answers that can be told apart, fields
        and positions that exist."""
        variant = self.variant(shift, tokenizer)
        drawn = variant.inputs.sample(np.random.default_rng(0), n)
        here = self.under(shift, tokenizer) if variant.model is self.model else None
        outputs = here.outputs(drawn) if here else variant.model.run(drawn)[variant.model.output]
        _check_asked(variant, drawn, outputs, tokenizer, positions)
        identities(variant, here.hypotheses.values() if here else (), tokenizer, drawn)

    def fault(self, shift: Any, tokenizer: Tokenizer) -> str:
        """Why the task cannot be put to a network under a shift; empty where it can."""
        try:
            self.under(shift, tokenizer)
            self.check_shift(shift, tokenizer)
        except DasError as error:
            return str(error)
        return ""

    def coverage(self, shift: Any, tokenizer: Tokenizer, positions: Sequence[str], n: int = 200) -> dict[str, float]:
        """Position → the share of a shift's drawn prompts in which it exists."""
        variant = self.variant(shift, tokenizer)
        drawn = variant.run(variant.inputs.sample(np.random.default_rng(0), n))
        return variant.prompt.render(drawn).coverage(tokenizer, positions)


def _check_steady(name: str, model: CausalModel, inputs: Columns) -> None:
    """DasError where a mechanism gives another value when it is asked again."""
    once, again = model.run(inputs), model.run(inputs)
    for variable in model.variables:
        if differ(once[variable], again[variable]).any():
            raise DasError(
                f"hypothesis {name!r}: {variable!r} has other values when it is computed again from the same inputs: "
                "a mechanism is a function of its parents; let what is random be an input"
            )


def _check_asked(asked: Variant, inputs: Columns, outputs: Column, tokenizer: Tokenizer, positions: Sequence[str]) -> None:
    """DasError unless the network can be asked, and its answers told apart."""
    columns = asked.run(inputs)
    rendered = asked.prompt.render(columns)
    if asked.prompt.render(take(columns, np.arange(1))).names[0] != rendered.names[0]:
        raise DasError("a setting is put to the network otherwise by itself than among others: let it depend on nothing else")
    if isinstance(rendered, Texts):
        _check_lie(expand_positions(positions), rendered, columns)
    rendered.check(tokenizer, positions)
    asked.prompt.check_answers(outputs, rendered, tokenizer)


def _check_lie(positions: Sequence[str], rendered: Texts, variables: Columns) -> None:
    """DasError where a position bears the name of a variable that is not written."""
    for spec in single_positions(positions):
        name = Position.parse(spec).name
        if name in variables and name not in {*rendered.spans, *rendered.tokens}:
            raise DasError(
                f"position {spec!r}: the prompt does not write {name!r}. Say by a function of variables at which field it "
                f"lies: Prompt(…, positions={{{name!r}: lambda pointer: f'option{{pointer}}'}})"
            )
