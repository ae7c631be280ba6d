"""Shifts: other ways to put the same question. Each changes the words or the inputs and nothing else; they compose with `+`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Columns, codes
from das.causal.domains import Choice, Inputs
from das.causal.model import CausalModel
from das.errors import DasError, shown, unknown
from das.ground.checks import distinct, fitted, named, short_text, whole
from das.task.prompt import Prompt, Tokenizer, literal

MOST_EXAMPLES, MOST_TEXT = 1000, 100_000
"""Examples before a question; letters that are put before it."""

BASE = "base"
"""What the task as it stands is called among its shifts."""


@dataclass(frozen=True)
class Variant:
    """One way to ask: the words, the inputs, and the causal model that answers."""

    prompt: Prompt
    inputs: Inputs
    model: CausalModel

    def run(self, inputs: Mapping[str, Any]) -> Columns:
        """Every variable's column for rows of its inputs."""
        return self.model.over(self.inputs).run(inputs)


class Change:
    """What all shifts share. `order`: where a change comes in a composition, whatever place it was written at: whole prompts
    are replaced before words in them are, and what is put around them comes last."""

    order: ClassVar[int] = 0

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        """The question as it is put under this shift. tokenizer: the network's, which a chat is written for."""
        raise NotImplementedError

    def __add__(self, other: Change) -> Composed:
        return Composed((*_parts(self), *_parts(other)))


@dataclass(frozen=True)
class Shift(Change):
    """Another prompt, other inputs, or both; what is None stays as it is.

    prompt: other words (a sibling instruction, a paraphrase), with their own answers.
    inputs: another distribution of inputs.
    model: only for siblings whose question differs: what they answer.
    """

    prompt: Prompt | None = None
    inputs: Inputs | None = None
    model: CausalModel | None = None

    def __post_init__(self) -> None:
        for name, kind in (("prompt", Prompt), ("inputs", Inputs), ("model", CausalModel)):
            if (given := getattr(self, name)) is not None and not isinstance(given, kind):
                raise DasError(f"{name} of a Shift is {shown(given)}: expected a das.{kind.__name__}")

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        return Variant(self.prompt or asked.prompt, self.inputs or asked.inputs, self.model or asked.model)


@dataclass(frozen=True)
class Reword(Change):
    """Other words: a paraphrase, or with other answers a sibling instruction.

    words: piece of the template → what stands in its place, all at once. answers: output value → text, as in `Prompt`.
    """

    words: Mapping[str, str]
    answers: Mapping[Any, str] | None = None
    order = 1

    def __post_init__(self) -> None:
        for name, given in (("words", self.words), ("answers", {} if self.answers is None else self.answers)):
            if not isinstance(given, Mapping):
                raise DasError(f"{name} of a Reword are {shown(given)}: expected a mapping")
        if "" in self.words:
            raise DasError("words of a Reword hold an empty piece: it is everywhere in the template")
        for text in [*self.words, *self.words.values(), *(self.answers or {}).values()]:
            if not isinstance(text, str):
                raise DasError(f"words and answers are texts, not {text!r}: in YAML put them in quotes")

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        prompt = asked.prompt
        for old in self.words:
            if old not in prompt.template:
                raise DasError(f"{old!r} is not in the template, so it cannot be reworded: {prompt.template!r}")
        longest_first = "|".join(map(re.escape, sorted(self.words, key=len, reverse=True)))
        template = re.sub(longest_first, lambda found: self.words[found[0]], prompt.template) if self.words else prompt.template
        return replace(asked, prompt=replace(prompt, template=template, answers=self.answers or prompt.answers))


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
        prompt = asked.prompt
        spaced = tuple(_spaced(text, behind=self.where == "after") for text in self._texts)
        at = self._place(prompt)
        name = next(f"context{i}" for i in ["", *range(2, 100)] if f"context{i}" not in {*prompt.fields, *prompt.fillers})
        added = literal(spaced[0]) if len(spaced) == 1 else f"{{{name}}}"
        fillers = {**prompt.fillers, **({name: spaced} if len(spaced) > 1 else {})}
        template = prompt.template[:at] + added + prompt.template[at:]
        return replace(asked, prompt=replace(prompt, template=template, fillers=fillers))

    def _place(self, prompt: Prompt) -> int:
        """The character of the template that the context comes before."""
        template = prompt.template
        head, tail = prompt.around
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
        texts = asked.prompt.render({name: column[rows] for name, column in drawn.items()}).texts
        solved = [text + answer for text, answer in zip(texts, asked.prompt.answer_texts(answers[rows]), strict=True)]
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
        return _around(replace(asked, prompt=_stripped(asked.prompt)), head, tail)


def _stripped(prompt: Prompt) -> Prompt:
    """The prompt with answers that begin a reply: without white space before them."""
    answers = prompt.answers
    if callable(answers):
        say = answers
        return replace(prompt, answers=lambda value: say(value).lstrip())
    return replace(prompt, answers={value: text.lstrip() for value, text in answers.items()})


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


@dataclass(frozen=True)
class Composed(Change):
    """Several shifts at once."""

    parts: tuple[Change, ...]

    def apply(self, asked: Variant, tokenizer: Tokenizer | None = None) -> Variant:
        whole = [part for part in self.parts if isinstance(part, Shift) and part.prompt]
        if len(whole) > 1:
            raise DasError("two shifts of a composition replace the whole prompt: compose with Reword or Context instead")
        return reduce(lambda now, part: part.apply(now, tokenizer), sorted(self.parts, key=lambda part: part.order), asked)


def _parts(change: Change) -> tuple[Change, ...]:
    return change.parts if isinstance(change, Composed) else (change,)


def _around(asked: Variant, before: str, after: str = "") -> Variant:
    template = literal(before) + asked.prompt.template + literal(after)
    return replace(asked, prompt=replace(asked.prompt, template=template))


# --- as YAML and command lines write them ---

KEYS: dict[str, tuple[type, ...]] = {
    "of": (str,), "context": (str, list, tuple), "where": (str,), "replace": (Mapping,), "answers": (Mapping,),
    "given": (Mapping,), "few_shot": (int,), "chat": (bool, str), "offset": (int,),
}  # fmt: skip
"""Of a shift as plain data, with the types that they may have."""


def parse_shift(spec: Any, declared: Mapping[str, Change]) -> Change:
    """A shift from plain data.

    A name: one that the task declares, `few_shot:2`, `chat` or `offset:8`; several are joined by `+`.
    A mapping, whose keys compose: `of` (a name), `context` (sentence or sentences) and `where`, `replace` (piece of the
    template → other words) and `answers`, `given` (input → value), `few_shot`, `chat`, `offset`.
    """
    if isinstance(spec, Change):
        return spec
    if isinstance(spec, str):
        short_text("a shift", spec)
        return reduce(Change.__add__, [_named(name.strip(), declared) for name in spec.split("+")])
    if not isinstance(spec, Mapping) or not spec:
        raise DasError(f"shift {shown(spec)} cannot be read: expected a name, or a mapping with keys such as {', '.join(KEYS)}")
    for key, value in spec.items():
        if key not in KEYS:
            raise unknown("key of a shift", key, KEYS)
        if not isinstance(value, KEYS[key]) or (isinstance(value, bool) and bool not in KEYS[key]):
            raise DasError(f"{key} of a shift is {shown(value)}: expected {' or '.join(kind.__name__ for kind in KEYS[key])}")
    return reduce(Change.__add__, _of_mapping(spec, declared))


def _named(name: str, declared: Mapping[str, Change]) -> Change:
    if name in declared:
        return declared[name]
    kind, _, number = name.partition(":")
    sized: dict[str, Any] = {"few_shot": FewShot, "offset": Offset}
    if kind in sized and (number.isdecimal() or not number) and len(number) < 20:
        return sized[kind](int(number)) if number else sized[kind]()  # type: ignore[no-any-return]
    if name == "chat":
        return Chat()
    raise unknown("shift", name, [*declared, "few_shot:2", "chat", "offset:8"])


def _of_mapping(spec: Mapping[str, Any], declared: Mapping[str, Change]) -> list[Change]:
    for key, needed in (("where", "context"), ("answers", "replace")):
        if key in spec and needed not in spec:
            raise DasError(f"shift {shown(dict(spec))}: {key} needs {needed} beside it")
    parts: list[Change] = []
    if "of" in spec:
        parts.append(parse_shift(spec["of"], declared))
    if "replace" in spec:
        parts.append(Reword(spec["replace"], spec.get("answers")))
    if "given" in spec:
        parts.append(Given(spec["given"]))
    if "context" in spec:
        parts.append(Context(spec["context"], spec.get("where", "inside")))
    if "few_shot" in spec:
        parts.append(FewShot(spec["few_shot"]))
    if spec.get("chat"):
        parts.append(Chat(spec["chat"] if isinstance(spec["chat"], str) else None))
    if "offset" in spec:
        parts.append(Offset(spec["offset"]))
    return parts


def named_shifts(specs: Any, declared: Mapping[str, Change]) -> dict[str, Change]:
    """Shifts by name: `all` that the task declares, a list of names, or a mapping from names of one's own to what
    `parse_shift` reads."""
    if isinstance(specs, str):
        specs = list(declared) if specs == "all" else [specs]
    if not isinstance(specs, Mapping | list | tuple):
        raise DasError(f"shifts are {shown(specs)}: expected all, names, or a mapping from names to shifts")
    if not isinstance(specs, Mapping):
        if unnamed := [spec for spec in specs if not isinstance(spec, str)]:
            raise DasError(f"shifts hold {shown(unnamed[0])}: expected names; what has no name is given one in a mapping")
        specs = {name: name for name in specs}
    check_names(list(specs))
    found = {}
    for name, spec in specs.items():
        try:
            found[name] = parse_shift(spec, declared)
        except DasError as error:
            raise error if spec == name else DasError(f"shift {name!r}: {error}") from error
    return found


def check_names(names: Sequence[str]) -> None:
    """Names are those of folders and pictures as well."""
    for name in names:
        named("a shift", name, also="+:. ")
        if name in (BASE, "matrix") or not name or len(slug(name)) > 60:
            reason = "it is the task as it stands, which is always there" if name == BASE else "folders and figures bear it"
            raise DasError(f"a shift cannot be called {name!r} ({reason}): expected another name, of at most 60 letters")
    if len({slug(name) for name in names}) < len(names):
        raise DasError(f"two shifts have names that are the same as names of folders: {', '.join(names)}")
    distinct("shifts", [slug(name) for name in names])


def slug(name: str) -> str:
    """A name as a file can have it."""
    return re.sub(r"[^\w+-]+", "_", name)
