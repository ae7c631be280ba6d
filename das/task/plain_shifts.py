"""Shifts as plain data: names and mappings, as a command line and a YAML file give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from das.errors import DasError, shown, unknown
from das.ground.checks import distinct, named, short_text
from das.task.shifts import Chat, Context, FewShot, Given, Offset, Reword
from das.task.variant import BASE, Change

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
