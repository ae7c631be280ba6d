"""Provenance: what a run was made from, so that a run folder is never gone on with from something else.

Kept are prints of what can change a figure: the values that every mechanism gives on some drawn inputs, and its code; what
swaps come to; the words; the tokens; the network's weights. A comment, or a shift more, changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch

from das.causal.columns import Column, Columns, differ, key
from das.causal.inputs import Inputs
from das.network.lm import LM
from das.network.source import weight_files
from das.task.form import Form
from das.task.hypothesis import Hypothesis
from das.task.names import task_file
from das.task.task import Task
from das.task.tokenizer import Tokenizer
from das.task.variant import Variant

Print = dict[str, Any]

DRAWN = 500
"""Settings on which behaviour is looked at."""

WHOLE, BLOCK, STRIDE = 2**28, 2**12, 2**20
"""Up to so many bytes weights are read whole; of more, a block in every stride: no matrix of such a network is as small."""


def provenance(task: Task, tokenizer: Tokenizer, lm: str | Path | LM, measures: Iterable[str] | None = None) -> Print:
    """The prints of a task, as it is asked, and of a network, as JSON can hold them. measures: the task's functions that are
    measured or minimised; by default all."""
    drawn, python = _drawn(task.model.inputs), ".".join(map(str, sys.version_info[:2]))
    hypotheses = {name: _hypothesis(h, drawn) for name, h in task.hypotheses.items()}
    made = {"python": python, "hypotheses": hypotheses, "prompt": _words(task.prompt), "weights": weights(lm)}
    own = task.measures if measures is None else measures
    some = {
        "pairs": {name: brought.print for name, brought in task.pairs.items()},
        "measures": {name: _of(*_code(task.measures[name], set())) for name in own},
        **({"inputs": _table(drawn), "tokens": _tokens(task, tokenizer, drawn)} if drawn else {}),
    }
    return made | {part: prints for part, prints in some.items() if prints}


def asked_print(asked: Variant) -> Print:
    """The print of a shift: its inputs, and the texts and answers of some drawn prompts."""
    if not (drawn := _drawn(asked.inputs)):
        return {}
    values = asked.run(drawn)
    answers = asked.prompt.answer_texts(values[asked.model.output])
    return {"inputs": _table(drawn), "words": _of(asked.prompt.render(values).names, answers)}


def _drawn(inputs: Inputs) -> Columns:
    """Some settings; none where a sampler gives others each time (`Run.hold` says what comes of that)."""
    drawn, again = (inputs.sample(np.random.default_rng(0), DRAWN) for _ in range(2))
    return {} if any(differ(drawn[name], again[name]).any() for name in drawn) else drawn


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed from one provenance to another, in words. What follows from another change is not named: the values of
    a mechanism whose parents have others, the tokens of other words."""
    found = [] if _named(before) == _named(now) else ["the task's hypotheses, or the variables that they align"]
    if before.get("pairs") != now.get("pairs"):
        return [*found, "the pairs that were brought (their file was edited)"]
    for name in before["hypotheses"].keys() & now["hypotheses"].keys():
        found += _changed_mechanisms(name, before, now)
    if _differ("inputs", before, now):
        found.append("the inputs that the task draws (other domains, or a sampler that is not deterministic)")
    found += [f"the {part}" for part in ("prompt's words", "answers' words") if _differ(part, before["prompt"], now["prompt"])]
    found += [f"the task's function {name!r}, a measure or the loss" for name in _changed_functions(before, now)]
    if not found and _differ("tokens", before, now):
        found.append("the tokenizer, or how values are written")
    files = [name for name in before["weights"] if _differ(name, before["weights"], now["weights"])]
    return found + ([f"the network's weights ({', '.join(files)})"] if files else [])


def comparable(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two provenances say of a `task`, or of an `lm`, whether it is the same, whatever it is called."""
    return bool(before) and (name == "task" or not before["weights"].keys().isdisjoint(now["weights"]))


def others(before: Mapping[str, Any], now: Mapping[str, Any], was: str, called: str) -> list[str]:
    """See `changes`; of a network whose prints do not say whether it is the same, its names do. was, called: of the network."""
    return changes(before, now) + ["the network"] * (was != called and not comparable("lm", before, now))


def _named(made: Mapping[str, Any]) -> list[Any]:
    return [(name, print_["variables"]) for name, print_ in made["hypotheses"].items()]


def _differ(part: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether both have a print of something, and not the same."""
    return part in before and part in now and before[part] != now[part]


def _changed_functions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Of the task's functions that both have prints of, those with other code."""
    old, new = (made.get("measures", {}) for made in (before, now))
    return [name for name in old if before["python"] == now["python"] and _differ(name, old, new)]


def _changed_mechanisms(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Of a hypothesis."""
    old, new, found = before["hypotheses"][name], now["hypotheses"][name], []
    other = {v for v in old["values"].keys() & new["values"].keys() if old["values"][v] != new["values"][v]}
    for variable, parents in new["parents"].items():
        rewritten = before["python"] == now["python"] and _differ(variable, old["code"], new["code"])
        if rewritten or old["parents"].get(variable) != parents or (variable in other and not other & set(parents)):
            found.append(f"mechanism {variable!r} of the task's hypothesis {name!r}")
    return found or ([f"what a swap does under hypothesis {name!r}"] if not other and _differ("swaps", old, new) else [])


# --- of a task ---


def _hypothesis(h: Hypothesis, drawn: Columns) -> Print:
    model = h.model
    inner = [v for v in model.variables if v not in model.inputs.names]
    made: Print = {"variables": list(h.variables), "parents": {v: list(model.parents(v)) for v in inner}}
    made["code"] = {v: _of(*_code(model.mechanism(v), set())) for v in inner}
    table = model.run(drawn) if drawn else {}
    made["values"] = {v: _column(column) for v, column in table.items()}
    if drawn:
        rolled = {name: np.roll(column, 1, 0) for name, column in drawn.items()}
        made["swaps"] = _table(model.interchange(drawn, dict.fromkeys(h.variables, rolled)))
    return made


def _words(prompt: Form) -> Print:
    return {name: _of(*(said for part in parts for said in _said(part))) for name, parts in prompt.parts().items()}


def _said(part: Any) -> Iterable[Any]:
    return _code(part, set()) if callable(part) else [part]


def _tokens(task: Task, tokenizer: Tokenizer, drawn: Columns) -> str:
    outputs = task.model.run(drawn)[task.model.output]
    known = outputs[[value is not None for value in outputs]]
    return _of(task.prompt.read(task.render(drawn), known, tokenizer))


def _code(function: Any, seen: set[Any]) -> Iterator[Any]:
    """What a function's code says: its operations, names, constants and defaults, and those of the functions that it calls by a
    global name. Comments, docstrings and lines do not count. Nothing of what is not written in Python."""
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        return
    seen.add(code)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    yield from _operations(code, function.__doc__)
    yield [function.__defaults__, *(value for value in cells if not callable(value))]
    for used in [*(function.__globals__.get(name) for name in code.co_names if not name.startswith("__")), *cells]:
        if isinstance(used, str | int | float | tuple):
            yield used
        elif _of_the_project(used):
            yield from _code(used, seen)


def _of_the_project(function: Any) -> bool:
    """Whether a function is written in a file of the user's, not of Python's or of a package's."""
    file = getattr(getattr(function, "__code__", None), "co_filename", "<")
    away = (sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]))
    return not (file.startswith(("<", *away)) or {"site-packages", "dist-packages"} & set(Path(file).parts))


def _operations(code: CodeType, doc: str | None = None) -> Iterator[Any]:
    yield [code.co_code, code.co_names, code.co_varnames, code.co_freevars]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _operations(constant)
        elif constant != doc or doc is None:
            yield constant


# --- of a network ---


def weights(lm: str | Path | LM) -> dict[str, str]:
    """Of the files that a network is read from, or of an object's tensors; empty where there are no files yet."""
    if isinstance(lm, LM):
        return {"as given": _of_tensors(lm.model.state_dict())}
    return {path.name: _of_file(path) for path in weight_files(str(lm))}


def _of_file(path: Path) -> str:
    size, done = path.stat().st_size, hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for at in range(0, size, STRIDE):
            file.seek(at)
            done.update(file.read(STRIDE if size <= WHOLE else BLOCK))
    return f"{size} {done.hexdigest()}"


def _of_tensors(tensors: Mapping[str, Any]) -> str:
    done = hashlib.blake2b(digest_size=16)
    held = {name: t.detach().reshape(-1) for name, t in tensors.items() if isinstance(t, torch.Tensor) and t.numel()}
    step = STRIDE // BLOCK if sum(t.numel() * t.element_size() for t in held.values()) > WHOLE else 1
    for name, tensor in held.items():
        done.update(repr((name, tensor.dtype, tensor.numel())).encode())
        done.update(tensor[::step].contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return done.hexdigest()


# --- prints ---


def _of(*things: Any) -> str:
    return hashlib.blake2b(repr([_plain(thing) for thing in things]).encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """Written the same in every process and on every machine: sets in order, objects without their addresses, floats without
    their last digits."""
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(_plain, value)]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(item)) for item in value)
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str | bytes) else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _column(column: Column) -> str:
    return _of(*map(key, column))


def _table(columns: Mapping[str, Column]) -> str:
    return _of(*((name, _column(column)) for name, column in columns.items()))


# --- where things lie ---


def places(things: Mapping[str, Any], run: Path) -> dict[str, dict[str, str]]:
    """Where a task's file and a network's files lie, from the root and from the run's folder, of those that are files here.
    things: `task` and `lm`, as they were given."""
    here = {name: path.resolve() for name, thing in things.items() if (path := _path(name, thing)) and path.exists()}
    return {name: {"path": str(path), "from_run": os.path.relpath(path, run.resolve())} for name, path in here.items()}


def found_again(name: str, given: Any, kept: Mapping[str, Mapping[str, str]], run: Path) -> Any:
    """What to load as a run's `task` or `lm`: the file that it was made from, be it that the whole project was moved, that the
    run was, or that this is another working directory; as it was given where that is the same or nothing is known."""
    if name not in kept:
        return given
    candidates: Sequence[Path] = [run.resolve() / kept[name]["from_run"], Path(kept[name]["path"])]
    found: Iterable[Path] = (path.resolve() for path in candidates if path.exists())
    path, named = next(iter(found), None), _path(name, given)
    return given if path is None or (named is not None and named.resolve() == path) else str(path)


def _path(name: str, thing: Any) -> Path | None:
    if not isinstance(thing, str | Path):
        return None
    return task_file(thing) if name == "task" else Path(thing)
