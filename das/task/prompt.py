"""Prompt: values → text, where every field lies in it, and the token that answers; positions by name."""

from __future__ import annotations

import re
import string
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, key, same_length
from das.errors import DasError, called, shown, unknown

Tokenizer = Any
"""A fast Hugging Face tokenizer (it must give character offsets)."""

Indices = NDArray[np.int64]

CONVERSIONS: dict[str | None, Callable[[Any], Any]] = {None: lambda value: value, "r": repr, "s": str, "a": ascii}
"""`{field!r}` and the like, as in `str.format`."""


@dataclass(frozen=True)
class Rendered:
    """Texts and, for every field, its character span in each: `spans[field]` is (rows, 2), start and end."""

    texts: list[str]
    spans: dict[str, Indices]

    def take(self, rows: int | Indices) -> Rendered:
        """One of them, or some."""
        rows = np.atleast_1d(rows)
        return Rendered([self.texts[row] for row in rows], {name: span[rows] for name, span in self.spans.items()})


def literal(text: str) -> str:
    """A text as a template holds it: braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True)
class Prompt:
    """How a setting of the inputs is written, and how the network answers.

    template: text with `{field}` or `{field:.2f}` for variables of the causal model, as in `str.format`; of a variable that
        holds several values, `{pair[0]}` writes one.
    answers: output value → the text that follows the prompt, or a function from one to the other. The text is taken as
        it stands: where a space separates it from the prompt, it begins with the space.
    fillers: field of the template that is no variable → texts of which each prompt gets one, by a hash of its other fields: the
        same setting is always the same prompt.
    """

    template: str
    answers: Mapping[Any, str] | Callable[[Any], str]
    fillers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.template, str):
            raise DasError(f"the template is {shown(self.template)}: expected a text with {{fields}}")
        if not callable(self.answers) and not isinstance(self.answers, Mapping):
            raise DasError(f"answers are {shown(self.answers)}: expected a mapping from output value to text, or a function")
        for value, said in self.answers.items() if isinstance(self.answers, Mapping) else ():
            _text_of(value, said)
        if not isinstance(self.fillers, Mapping):
            raise DasError(f"fillers are {shown(self.fillers)}: expected a mapping from field to texts")
        for name, texts in self.fillers.items():
            if (
                isinstance(texts, str)
                or not isinstance(texts, Sequence)
                or not texts
                or any(not isinstance(t, str) for t in texts)
            ):
                raise DasError(f"the fillers of {name!r} are {shown(texts)}: expected a list of texts, at least one")

    @cached_property
    def _pieces(self) -> list[tuple[str, str | None, str, str | None]]:
        try:
            pieces = [(text, name, spec or "", conv) for text, name, spec, conv in string.Formatter().parse(self.template)]
        except ValueError as error:
            raise DasError(f"the template cannot be read ({error}): write a literal brace as {{{{ or }}}}") from error
        for _, name, spec, conversion in pieces:
            if name is not None and not (FIELD.fullmatch(name) and _variable(name).isidentifier()):
                raise DasError(f"field {{{name}}} of the template has no name: give each field the name of a variable")
            if name is not None and ("{" in spec or conversion not in CONVERSIONS):
                raise DasError(f"field {{{name}}} of the template has a format that is not plain, such as {{{name}:.2f}}")
            if name in ("first", "last"):
                raise DasError(f"a field cannot be called {name!r}, which is a position: give the variable another name")
        return pieces

    @property
    def fields(self) -> list[str]:
        """The names of the variables in the template, in order, each once."""
        return list(dict.fromkeys(_variable(name) for name in self._named if name not in self.fillers))

    @property
    def _named(self) -> list[str]:
        """The fields as the template names them, fillers too, each once."""
        return list(dict.fromkeys(name for _, name, _, _ in self._pieces if name is not None))

    @property
    def around(self) -> tuple[str, str]:
        """The template's text before its first field and behind its last one, as the template holds it."""
        named = [i for i, (_, name, _, _) in enumerate(self._pieces) if name is not None]
        texts = [literal(text) for text, *_ in self._pieces]
        return ("".join(texts[: named[0] + 1]), "".join(texts[named[-1] + 1 :])) if named else (self.template, self.template)

    def render(self, columns: Mapping[str, Column]) -> Rendered:
        """One text per row. A field that occurs twice has the span of its first occurrence."""
        for name in self.fields:
            if name not in columns:
                raise unknown("field of the template", name, columns)
        values = {name: columns[name].tolist() for name in self.fields}
        n = same_length({name: columns[name] for name in self.fields}) if values else same_length(columns)
        settings = [repr(row) for row in zip(*values.values(), strict=True)] if values else [""] * n
        values |= {name: [_one_of(texts, name + row) for row in settings] for name, texts in self.fillers.items()}
        spans = {name: np.zeros((n, 2), np.int64) for name in self._named}
        texts = [self._write({name: column[row] for name, column in values.items()}, row, spans) for row in range(n)]
        return Rendered(texts, spans)

    def _write(self, values: Mapping[str, Any], row: int, spans: Mapping[str, Indices]) -> str:
        text = ""
        for literal, name, spec, conversion in self._pieces:
            text += literal
            if name is None:
                continue
            value = CONVERSIONS[conversion](_part(values[_variable(name)], name))
            fit = "a value that the format can write"
            written = called(f"field {{{name}:{spec}}} cannot write {shown(value)}: it", fit, format, value, spec)
            if not spans[name][row, 1]:
                spans[name][row] = len(text), len(text) + len(written)
            text += written
        return text

    def answer(self, value: Any) -> str:
        """The text that answers `value`, an output of the causal model."""
        if callable(self.answers):
            said = called(
                "the answer function", "the text that answers the value", self.answers, value, on=f" on {shown(value)}"
            )
            return _text_of(value, said)
        texts = {key(known): text for known, text in self.answers.items()}
        if key(value) not in texts:
            raise unknown("answer: the output value has no text,", value, self.answers)
        return texts[key(value)]

    def answer_texts(self, outputs: Column) -> list[str]:
        """The answer's text for each row of the output column."""
        known: dict[Any, str] = {}
        values = outputs.tolist()
        marks = [(repr(type(value)), key(value)) for value in values]  # a function may write True otherwise than 1
        return [known[m] if m in known else known.setdefault(m, self.answer(v)) for m, v in zip(marks, values, strict=True)]


def _text_of(value: Any, said: Any) -> str:
    """The text that answers a value; DasError where it is none."""
    if not isinstance(said, str):
        raise DasError(f"the answer to {shown(value)} is {shown(said)}: expected a text; in YAML put it in quotes")
    return said


def _one_of(texts: Sequence[str], setting: str) -> str:
    return texts[zlib.crc32(setting.encode()) % len(texts)]


FIELD = re.compile(r"\w+(?:\[[^\[\]]+\])*")
"""A variable's name, and which of its values: `pair[0]`."""


def _variable(name: str) -> str:
    return name.partition("[")[0]


def _part(value: Any, name: str) -> Any:
    """What of a variable's value a field writes."""
    try:
        for index in re.findall(r"\[([^\]]+)\]", name):
            value = value[int(index) if index.isdigit() else index]
    except (LookupError, TypeError) as error:
        raise DasError(f"field {{{name}}}: {value!r} has no {index!r}") from error
    return value


@dataclass(frozen=True)
class Position:
    """A named place in a prompt, parsed from `amount.last`, `amount+1`, `last-6` or `amount` (the whole span).

    `last` and `first` are the prompt's own ends, `last` its text's last token: where the tokenizer closes it with `[SEP]`
    or `</s>`, these are `last+1` and so on. Any other name is a field. An offset counts tokens from the span's end
    (`+`) or from its start (`-`), or from the end that is named.
    """

    name: str
    end: str | None
    offset: int

    @classmethod
    def parse(cls, text: str) -> Position:
        if not isinstance(text, str):
            raise DasError(f"position {shown(text)} cannot be read: write amount.last, amount+1, last-6 or amount")
        match = re.fullmatch(rf"(?!\d)({FIELD.pattern})(?:\.(first|last))?([+-]\d{{1,6}})?", text.replace(" ", ""))
        if match is None:
            raise DasError(f"position {text!r} cannot be read: write amount.last, amount+1, last-6 or amount")
        name, end, offset = match[1], match[2], int(match[3] or 0)
        if name in ("first", "last"):
            if end:
                raise DasError(f"position {text!r}: {name} is a single token and has no {end}")
            return cls("", name, offset)
        return cls(name, end or ("last" if offset > 0 else "first" if offset < 0 else None), offset)


MOST_IN_RANGE = 10_000
"""Positions that one range may stand for."""


def expand_positions(specs: Iterable[str]) -> list[str]:
    """Positions with ranges written out: `last-2..last` is `last-2`, `last-1`, `last`."""
    names: list[str] = []
    if isinstance(specs, str) or not isinstance(specs, Iterable):
        raise DasError(f"positions are {shown(specs)}: expected a list, such as [amount.last, last]")
    for spec in specs:
        first, dots, final = spec.replace(" ", "").partition("..") if isinstance(spec, str) else (spec, "", "")
        if not dots:
            Position.parse(first)
            names.append(first)
            continue
        a, b = Position.parse(first), Position.parse(final)
        if (a.name, a.end) != (b.name, b.end) or a.end is None or not 0 <= b.offset - a.offset < MOST_IN_RANGE:
            raise DasError(f"range {spec!r}: expected two offsets from the same place, such as last-6..last")
        anchor = f"{a.name}.{a.end}" if a.name else a.end
        names += [anchor + (f"{i:+d}" if i else "") for i in range(a.offset, b.offset + 1)]
    return list(dict.fromkeys(names))


@dataclass
class Encoded:
    """Prompts as token ids, left-padded to one length, with the columns of the named positions.

    ids: (rows, length); lengths: (rows,), tokens that are not padding, at the right.
    positions: name → (rows, tokens of the span), columns of `ids`.
    """

    ids: Indices
    lengths: Indices
    positions: dict[str, Indices] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Any) -> Encoded:
        return Encoded(self.ids[rows], self.lengths[rows], {name: at[rows] for name, at in self.positions.items()})

    def padded(self, length: int, pad: int = 0) -> Encoded:
        """The same prompts, left-padded to `length` columns."""
        extra = length - self.ids.shape[1]
        ids = np.pad(self.ids, ((0, 0), (extra, 0)), constant_values=pad)
        return Encoded(ids, self.lengths, {name: at + extra for name, at in self.positions.items()})

    @staticmethod
    def concat(parts: Sequence[Encoded]) -> Encoded:
        """Several batches one below another; only the positions that all have are kept."""
        length = max(part.ids.shape[1] for part in parts)
        parts = [part.padded(length) for part in parts]
        shared = [name for name in parts[0].positions if all(name in part.positions for part in parts)]
        return Encoded(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            {name: np.concatenate([part.positions[name] for part in parts]) for name in shared},
        )

    def count(self, token: int | None) -> float:
        """The share of a token among those that are not padding."""
        real = np.arange(self.ids.shape[1]) >= (self.ids.shape[1] - self.lengths)[:, None]
        return float((self.ids[real] == token).mean())

    def common_prefix(self) -> int:
        """How many first tokens all prompts share."""
        shortest = int(self.lengths.min())
        start = self.ids.shape[1] - self.lengths
        heads = np.stack([self.ids[row, s : s + shortest] for row, s in enumerate(start)])
        differs = (heads != heads[0]).any(0)
        return int(np.argmax(differs)) if differs.any() else shortest


def encode(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str] = ()) -> Encoded:
    """Tokenizes and resolves each named position per row through the tokenizer's character offsets.

    Raises DasError where a position does not exist, or where a whole span has a different number of tokens by row.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise DasError("the tokenizer gives no character offsets: load a fast tokenizer")
    batch = tokenizer(rendered.texts, return_offsets_mapping=True)
    lengths = np.array([len(row) for row in batch["input_ids"]], np.int64)
    width = int(lengths.max())
    ids = np.full((len(lengths), width), tokenizer.pad_token_id or 0, np.int64)
    offsets = np.zeros((len(lengths), width, 2), np.int64)
    for row, (tokens, spans) in enumerate(zip(batch["input_ids"], batch["offset_mapping"], strict=True)):
        ids[row, width - len(tokens) :] = tokens
        offsets[row, width - len(tokens) :] = spans
    encoded = Encoded(ids, lengths)
    for spec in positions:
        encoded.positions[spec] = _resolve(Position.parse(spec), spec, offsets, lengths, rendered)
    return encoded


def check_fields(rendered: Rendered, tokenizer: Tokenizer) -> None:
    """DasError where what a field writes has no token: the network would not read it. A field may well write nothing."""

    def written(spans: Indices) -> list[bool]:
        return [bool(text[a:b].strip()) for text, (a, b) in zip(rendered.texts, spans, strict=True)]

    where = {name: written(spans) for name, spans in rendered.spans.items()}
    encode(rendered, tokenizer, [f"{name}.first" for name, there in where.items() if all(there)])
    for name, there in where.items():
        if any(there) and not all(there):
            encode(rendered.take(np.flatnonzero(there)), tokenizer, [f"{name}.first"])


def _resolve(at: Position, spec: str, offsets: Indices, lengths: Indices, rendered: Rendered) -> Indices:
    width = offsets.shape[1]
    start = width - lengths
    if at.name == "":
        first, last = start, width - 1 - closing(offsets)
    elif at.name in rendered.spans:
        first, last = _tokens_of(at.name, offsets, rendered)
    else:
        raise unknown(f"field in position {spec!r}:", at.name, [*rendered.spans, "first", "last"])
    if at.end is None:
        return _whole(spec, first, last)
    column = (first if at.end == "first" else last) + at.offset
    if (bad := (column < start) | (column >= width)).any():
        row = int(np.argmax(bad))
        raise DasError(f"position {spec!r} lies outside the prompt of {lengths[row]} tokens: {rendered.texts[row]!r}")
    at_column: Indices = column[:, None]
    return at_column


def _tokens_of(name: str, offsets: Indices, rendered: Rendered) -> tuple[Indices, Indices]:
    """First and last column of the tokens that overlap the field's characters."""
    span = rendered.spans[name]
    inside = (offsets[..., 0] < span[:, 1:]) & (offsets[..., 1] > span[:, :1]) & (span[:, :1] < span[:, 1:])
    if (gone := ~inside.any(1)).any():
        row = int(np.argmax(gone))
        raise DasError(f"field {name!r} vanishes: it has no token in {rendered.texts[row]!r}")
    return inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)


def _whole(spec: str, first: Indices, last: Indices) -> Indices:
    counts = np.unique(last - first + 1)
    if len(counts) > 1:
        raise DasError(
            f"position {spec!r} covers {counts.min()} to {counts.max()} tokens: choose one, such as {spec}.first or {spec}.last"
        )
    return first[:, None] + np.arange(counts[0])


def coverage(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, float]:
    """Position → the share of the prompts in which it exists; of a whole span, with its commonest number of tokens."""
    return {spec: _covered(rendered, tokenizer, spec) for spec in positions}


def _covered(rendered: Rendered, tokenizer: Tokenizer, spec: str) -> float:
    try:
        encode(rendered, tokenizer, [spec])
        return 1.0
    except DasError:
        sizes: list[int] = []
        for row in range(len(rendered.texts)):
            try:
                sizes.append(encode(rendered.take(row), tokenizer, [spec]).positions[spec].shape[1])
            except DasError:
                sizes.append(0)
        return max(np.bincount(sizes)[1:], default=0) / len(sizes)


def closing(offsets: Indices) -> Indices:
    """How many tokens at the end of each prompt stand for none of its characters, (rows, tokens, 2) → (rows,): those with which
    a tokenizer closes it, such as `[SEP]` or `</s>`."""
    written = offsets[..., 0] < offsets[..., 1]
    counts: Indices = np.where(written.any(1), written[:, ::-1].argmax(1), 0)
    return counts


def _open(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text, without those that close it."""
    found = tokenizer(text, return_offsets_mapping=True)
    ids: list[int] = found["input_ids"]
    return ids[: len(ids) - int(closing(np.array(found["offset_mapping"]).reshape(1, -1, 2))[0])]


def answer_token(tokenizer: Tokenizer, text: str, answer: str) -> int:
    """The first token of `answer` where it follows the prompt `text`."""
    prompt, whole = _open(tokenizer, text), _open(tokenizer, text + answer)
    if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
        raise DasError(
            f"answer {answer!r} does not begin a new token after the prompt's end {text[-20:]!r}: "
            "end the prompt without the space and begin the answer with it"
        )
    return int(whole[len(prompt)])


def answer_tokens(tokenizer: Tokenizer, text: str, answers: Sequence[str]) -> Indices:
    """The first token of each answer where it follows the prompt `text`."""
    tokens = {answer: answer_token(tokenizer, text, answer) for answer in dict.fromkeys(answers)}
    return np.array([tokens[answer] for answer in answers], np.int64)


def tokens_at(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str]) -> dict[str, str]:
    """Position → the text of its token(s) in the first prompt, in the order of the prompt."""
    one = rendered.take(0)
    encoded = encode(one, tokenizer, positions)
    offsets = tokenizer(one.texts, return_offsets_mapping=True)["offset_mapping"][0]
    order = sorted(encoded.positions.items(), key=lambda item: tuple(item[1][0]))
    return {name: one.texts[0][offsets[at[0, 0]][0] : offsets[at[0, -1]][1]] for name, at in order}


def show(rendered: Rendered, tokenizer: Tokenizer, positions: Sequence[str], row: int = 0) -> str:
    """One prompt with its chosen tokens in ⟦brackets⟧, and below it each position with its token."""
    one = rendered.take(row)
    encoded = encode(one, tokenizer, positions)
    offsets = tokenizer(one.texts, return_offsets_mapping=True)["offset_mapping"][0]
    chosen = {int(column) for at in encoded.positions.values() for column in at[0]}
    text, end = "", 0
    for column, (a, b) in enumerate(offsets):
        piece = one.texts[0][max(a, end) : b]
        text += one.texts[0][end:a] + (f"⟦{piece}⟧" if column in chosen and piece else piece)
        end = max(b, end)
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids[0].tolist())
    width = max((len(name) for name in positions), default=0)
    lines = [f"  {name:<{width}}  {' '.join(repr(tokens[c]) for c in at[0])}" for name, at in encoded.positions.items()]
    return "\n".join([text, "", *lines])
