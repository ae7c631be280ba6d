"""Options: the typed parameters of a function or a dataclass, as a command line and a YAML file give them.

Values are plain data (see `das.ground.plain`), held against the parameters' types (see `das.ground.checks`). What a value
means, a kind of subspace or a shift, is for the function: nothing here can name a class, and nothing is imported whatever the
keys are.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

import yaml

from das.errors import DasError, nearest, shown, unknown
from das.ground.checks import fitted, wanted
from das.ground.plain import parse, read_yaml

STDOUT = "-"
"""For a file: standard output."""

HELP, CONFIG, PRINT = ("-h", "--help"), "--config", "--print_config"


@dataclass(frozen=True)
class Option:
    """A parameter: its name, type hint, default (`MISSING` where one must be given) and what its docstring says."""

    name: str
    hint: Any
    default: Any
    about: str = ""

    @property
    def needed(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    def value(self, text: str) -> Any:
        """What a word of the command line gives."""
        plain = {"null": None}.get(text, text) if self._textual else parse(text, f"--{self.name} {text!r}")
        return fitted(self.name, plain, self.hint)

    @property
    def alone(self) -> str | None:
        """What it means without a value, if that means anything: yes, or standard output."""
        return "true" if self.hint is bool else STDOUT if self.name == "json" else None

    @property
    def _textual(self) -> bool:
        return self.hint in (str, str | None)


def options_of(thing: Callable[..., Any]) -> list[Option]:
    """Of a function, or of a dataclass's fields."""
    hints, about = get_type_hints(thing), _docs(thing.__doc__ or "")
    if is_dataclass(thing):
        made = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(thing)}
    else:
        found = inspect.signature(thing).parameters
        made = {name: MISSING if p.default is p.empty else p.default for name, p in found.items()}
    return [Option(name, hints[name], default, about.get(name, "")) for name, default in made.items()]


def _docs(text: str) -> dict[str, str]:
    """What follows `Args:` in a docstring, by parameter."""
    rest = inspect.cleandoc(text).partition("Args:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", rest, re.MULTILINE)
    return {name: " ".join(about.split()) for name, about in entries}


@dataclass
class Given:
    """What a command line gives: values, and whether only their printing (`--print_config`) or help was asked for."""

    values: dict[str, Any]
    printing: bool = False
    help: bool = False


def read(words: Sequence[str], options: Sequence[Option], command: str, configs: bool, operands: Sequence[str] = ()) -> Given:
    """Values from the words of a command line, later ones over earlier ones. Words without an option's name before them are
    the values of `operands`, in turn. configs: `--config FILE` gives values as well."""
    known, given, left = {o.name: o for o in options}, Given({}), list(words)
    places = iter([known[name] for name in operands])
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word in HELP or (configs and _plain(word) == PRINT):
            given.help, given.printing = given.help or word in HELP, given.printing or _plain(word) == PRINT
        elif configs and name == CONFIG:
            given.values |= _from_file(value if equals else _next(left, name), known)
        elif name.startswith("--"):
            option = _known(name, known, configs, command)
            given.values[option.name] = option.value(value if equals else _next(left, name, option))
        elif word.startswith("-") or (place := next(places, None)) is None:
            raise DasError(f"unrecognized arguments: {word}. See: das {command.split()[0]} --help")
        else:
            given.values[place.name] = place.value(word)
    missing = [o.name for o in options if o.needed and o.name not in given.values]
    if missing and not given.help and not given.printing:
        raise DasError(f"required: {', '.join(missing)}. See: das {command.split()[0]} --help")
    given.values = {o.name: o.default for o in options if not o.needed} | given.values
    return given


def _plain(word: str) -> str:
    """An option as it is called here: `--chosen-seeds` is `--chosen_seeds`."""
    return "--" + word.removeprefix("--").replace("-", "_")


def _known(name: str, known: Mapping[str, Option], configs: bool, command: str) -> Option:
    option = known.get(_plain(name).removeprefix("--"))
    if option is None:
        names = [*(f"--{each}" for each in known), *([CONFIG, PRINT] if configs else []), "--help"]
        hint = nearest(_plain(name), names)
        raise DasError(f"unknown option {shown(name)}:{hint} All of them: das {command.split()[0]} --help")
    return option


def _next(left: list[str], name: str, option: Option | None = None) -> str:
    """The value that follows an option, or the one that it has without."""
    hint, alone = (option.hint, option.alone) if option else (str, None)
    word = left[0] if left else "--"
    if word == STDOUT or not word.startswith("--" if alone is None else "-"):
        return left.pop(0)
    if alone is None:
        raise DasError(f"option {name} has no value: expected {wanted(hint)}")
    return alone


def _from_file(path: str, known: Mapping[str, Option]) -> dict[str, Any]:
    values = read_yaml(path)
    for name in values:
        if name not in known:
            raise unknown(f"setting in {path}:", name, known)
    return {name: fitted(name, value, known[name].hint) for name, value in values.items()}


def help_text(usage: str, about: str, groups: Iterable[tuple[str, Sequence[Option]]], config: bool = False) -> str:
    """What `--help` prints. groups: headings and options. config: a YAML file is taken too."""
    lines = [f"usage: das {usage}", "", textwrap.fill(" ".join(about.split()), 100)]
    for heading, options in groups:
        lines += ["", f"{heading}:", *(line for option in options for line in _entry(option))]
    if config:
        lines += [
            "",
            "settings as a file:",
            *_lines(CONFIG, "FILE.yaml", "Settings from a YAML file; what stands beside counts more."),
        ]
        lines += _lines(PRINT, "", "Print the settings as YAML, and do nothing.")
    return "\n".join(lines)


def _entry(option: Option) -> list[str]:
    end = "needed" if option.needed else f"default: {_written(option.default)}"
    return _lines(f"--{option.name}", "" if option.hint is Any else wanted(option.hint), f"{option.about} [{end}]".strip())


def _lines(name: str, kind: str, about: str) -> list[str]:
    return [f"  {name}" + (f" ({kind})" if kind else ""), textwrap.fill(about, 100, **_INDENT)]


_INDENT: dict[str, Any] = {"initial_indent": " " * 6, "subsequent_indent": " " * 6}


def _written(default: Any) -> str:
    return "none" if default is None else yaml.safe_dump(default, default_flow_style=True).removesuffix("...\n").strip()
