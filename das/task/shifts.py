"""Shifts: other ways to put the same question. Each changes the words or the inputs and nothing else; they compose with `+`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import codes
from das.causal.domains import Choice
from das.causal.inputs import Inputs
from das.causal.model import CausalModel
from das.errors import DasError, shown, unknown
from das.ground.checks import fitted, short_text, whole
from das.task.form import Form
from das.task.prompt import Prompt
from das.task.template import Template, literal
from das.task.tokenizer import Tokenizer
from das.task.variant import Change, Variant

MOST_EXAMPLES, MOST_TEXT = 1000, 100_000
"""Examples before a question; letters that are put before it."""


@dataclass(frozen=True)
class Shift(Change):
    """Another prompt, other inputs, or both; what is None stays as it is.

    prompt: other words (a sibling instruction, a paraphrase), with their own answers.
    inputs: another distribution of inputs.
    model: only for siblings whose question differs: what they answer.
    """

    prompt: Form | None = None
    inputs: Inputs | None = None
    model: CausalModel | None = None

    def __post_init__(self) -> None:
        kinds = (("prompt", Form, "Prompt"), ("inputs", Inputs, "Inputs"), ("model", CausalModel, "CausalModel"))
        for name, kind, called in kinds:
            if (given := getattr(self, name)) is not None and not isinstance(given, kind):
                raise DasError(f"{name} of a Shift is {shown(given)}: expected a das.{called}")

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        return Variant(self.prompt or asked.prompt, self.inputs or asked.inputs, self.model or asked.model)

    @property
    def replaces(self) -> bool:
        return self.prompt is not None


@dataclass(frozen=True)
class Reword(Change):
    """Other words: a paraphrase, or with other answers a sibling instruction.

    words: piece of the template → what stands in its place, all at once. answers: output value → text, as in `Prompt`.
    """

    words: Mapping[str, str]
    answers: Mapping[Any, str | Sequence[str]] | None = None
    order = 1

    def __post_init__(self) -> None:
        for name, given in (("words", self.words), ("answers", {} if self.answers is None else self.answers)):
            if not isinstance(given, Mapping):
                raise DasError(f"{name} of a Reword are {shown(given)}: expected a mapping")
        if "" in self.words:
            raise DasError("words of a Reword hold an empty piece: it is everywhere in the template")
        said = [[each] if isinstance(each, str) else each for each in (self.answers or {}).values()]
        forms = [text for each in said for text in (each if isinstance(each, list | tuple) else [each])]
        for text in [*self.words, *self.words.values(), *forms]:
            if not isinstance(text, str):
                raise DasError(f"words and answers are texts, not {text!r}: in YAML put them in quotes")

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        prompt = in_words(asked)
        for old in self.words:
            if not any(old in template.text for template in prompt.templates.each):
                raise DasError(f"{old!r} is not in the template, so it cannot be reworded: {prompt.written!r}")
        longest_first = re.compile("|".join(map(re.escape, sorted(self.words, key=len, reverse=True))) or "(?!)")
        prompt = prompt.reworded(lambda template: longest_first.sub(lambda found: self.words[found[0]], template.text))
        return replace(asked, prompt=replace(prompt, answers=self.answers or prompt.answers))


@dataclass(frozen=True)
class Given(Change):
    """New inputs: some of them always have the given value, or one of a list; the others are drawn as ever."""

    values: Mapping[str, Any]
    order = 1

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping) or not self.values:
            raise DasError(f"given is {shown(self.values)}: expected a mapping from inputs to values")

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        domains, joint = dict(asked.inputs.domains), asked.inputs.draw
        for name, value in self.values.items():
            if name not in domains:
                raise unknown("input to be given", name, domains)
            domains[name] = Choice(list(value) if isinstance(value, list | tuple) else [value])
        fixed = {name: domains[name] for name in self.values}

        def draw(rng: np.random.Generator, n: int) -> Mapping[str, Any]:
            drawn = {} if joint is None else joint(rng, n)
            return {**drawn, **{name: domain.sample(rng, n) for name, domain in fixed.items()}}

        return replace(asked, inputs=Inputs(domains, asked.inputs.where, draw))


@dataclass(frozen=True)
class Context(Change):
    """Irrelevant sentences.

    text: a sentence, or several of which each prompt gets one (see `Prompt.fillers`).
    where: `before` the prompt, `inside` it (before the line that holds its first field), `after` the line that holds its last
        field; or a piece of the template's text that it shall stand before.
    """

    text: str | Sequence[str]
    where: str = "inside"
    order = 2

    def __post_init__(self) -> None:
        texts = self._texts if isinstance(self.text, str | list | tuple) else []
        if not texts or not all(isinstance(text, str) and text for text in texts) or sum(map(len, texts)) > MOST_TEXT:
            raise DasError(f"a context is {shown(self.text)}: expected a sentence, or a list of sentences")
        if not isinstance(self.where, str) or not self.where:
            raise DasError(f"context where {shown(self.where)}: expected before, inside, after, or a piece of the template")

    @property
    def _texts(self) -> list[str]:
        return [self.text] if isinstance(self.text, str) else list(self.text)

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        prompt = in_words(asked)
        spaced = tuple(_spaced(text, behind=self.where == "after") for text in self._texts)
        name = next(f"context{i}" for i in ["", *range(2, 100)] if f"context{i}" not in {*prompt.fields, *prompt.fillers})
        added = literal(spaced[0]) if len(spaced) == 1 else f"{{{name}}}"
        fillers = {**prompt.fillers, **({name: spaced} if len(spaced) > 1 else {})}

        def told(template: Template) -> str:
            at = self._place(template)
            return template.text[:at] + added + template.text[at:]

        return replace(asked, prompt=replace(prompt.reworded(told), fillers=fillers))

    def _place(self, around: Template) -> int:
        """The character of the template that the context comes before."""
        template = around.text
        head, tail = around.around
        if self.where in ("before", "inside"):
            return 0 if self.where == "before" else head.rfind("\n") + 1
        if self.where == "after":
            line = tail.find("\n")
            return len(template) - len(tail) + (line if line >= 0 else len(tail))
        if self.where not in template:
            raise DasError(f"context where {self.where!r}: expected before, inside, after, or a piece of {template!r}")
        return template.index(self.where)


def _spaced(text: str, behind: bool) -> str:
    """With the space that parts it from what it comes before, or behind."""
    if behind:
        return text if text[0].isspace() else f" {text}"
    return text if text[-1].isspace() else f"{text} "


@dataclass(frozen=True)
class FewShot(Change):
    """Solved examples before the question, the same for every prompt; their answers are as evenly spread as can be.

    n: how many; seed: which; between: what parts them.
    """

    n: int = 2
    seed: int = 0
    between: str = "\n\n"
    order = 3

    def __post_init__(self) -> None:
        whole("few_shot", self.n, 1, MOST_EXAMPLES)
        whole("seed of few_shot", self.seed, 0, 2**32 - 1)
        fitted("between of few_shot", self.between, str)

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        drawn = asked.run(asked.inputs.sample(np.random.default_rng(self.seed), 50 * self.n))
        distinct_rows = np.sort(np.unique(codes(*(drawn[name] for name in asked.inputs.names)), return_index=True)[1])
        if len(distinct_rows) < self.n:
            raise DasError(f"few_shot is {self.n}: the inputs have only {len(distinct_rows)} different settings")
        answers = drawn[asked.model.output]
        rows = distinct_rows[_in_turn(codes(answers[distinct_rows]))[: self.n]]
        prompt = in_words(asked)
        texts = prompt.render({name: column[rows] for name, column in drawn.items()}).texts
        solved = [text + answer for text, answer in zip(texts, prompt.answer_texts(answers[rows]), strict=True)]
        return _around(asked, "".join(example + self.between for example in solved))


def _in_turn(code: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order in which equal codes come as late as can be: the first of every code, then the second of every code, …"""
    earlier = np.zeros(len(code), int)
    for value in np.unique(code):
        earlier[code == value] = np.arange((code == value).sum())
    return np.argsort(earlier, kind="stable")


@dataclass(frozen=True)
class Chat(Change):
    """The prompt as a user's message in the tokenizer's chat template, the answer as the beginning of the reply.

    system: a system message; by default whatever the template does without one.
    """

    system: str | None = None
    order = 5

    def __post_init__(self) -> None:
        if self.system is not None:
            short_text("system of a chat", self.system, MOST_TEXT)

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        if tokenizer is None or not getattr(tokenizer, "chat_template", None):
            raise DasError("the tokenizer has no chat template: a chat needs an instruction-tuned network's tokenizer")
        mark = "§das§"
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": mark})
        wrapped = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        head, found, tail = wrapped.partition(mark)
        if not found:
            raise DasError("the tokenizer's chat template drops the message")
        for token in tokenizer("")["input_ids"]:  # what the tokenizer puts first by itself
            head = head.removeprefix(tokenizer.decode([token]))
        # the answers begin a reply, with no white space before them
        return _around(replace(asked, prompt=in_words(asked).with_answers(str.lstrip)), head, tail)


@dataclass(frozen=True)
class Offset(Change):
    """The same prompt further on: `n` times `text` before it."""

    n: int = 8
    text: str = "\n"
    order = 4

    def __post_init__(self) -> None:
        whole("offset", self.n, 1, MOST_TEXT)
        whole("letters of an offset", self.n * len(fitted("text of an offset", self.text, str)), 1, MOST_TEXT)

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        return _around(asked, self.n * self.text)


def _around(asked: Variant, before: str, after: str = "") -> Variant:
    head, tail = literal(before), literal(after)
    return replace(asked, prompt=in_words(asked).reworded(lambda template: head + template.text + tail))


def in_words(asked: Variant) -> Prompt:
    """The words in which it is asked. DasError where it is asked without."""
    if not isinstance(asked.prompt, Prompt):
        raise DasError(
            "this shift changes words, and the task has none: its inputs are put to the network as tensors. Give other inputs "
            "(given, or das.Shift(inputs=…)), or das.Shift(prompt=das.Tensors(…))"
        )
    return asked.prompt
