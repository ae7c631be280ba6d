"""Check: under which shifts a task can be put to a network, and how well it answers there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from das.errors import DasError, unknown
from das.interchange.accuracy import Accuracy, accuracy
from das.network.given import Given
from das.network.limits import check_limits
from das.network.lm import LM
from das.network.named import NAMED
from das.task.plain_shifts import named_shifts
from das.task.positions import expand_positions
from das.task.task import Task
from das.task.tokenizer import Tokenizer
from das.task.variant import BASE
from das.text import aligned

APART = 0.1
"""How far from the published accuracy that of a true copy may lie: published ones are of a few hundred prompts, and merged
checkpoints differ in rounding."""


MOST = 10**6
"""Prompts that a network is asked."""


def check_askable(task: Task, network: Given, positions: Sequence[str] | None) -> None:
    """DasError unless the task can be put to the network, and answered. Loads no weights."""
    tokenizer = network.tokenizer
    network.check_form(task.prompt)
    task.check(tokenizer, positions)
    drawn = task.draw(BASE, tokenizer, np.random.default_rng(0), 200)
    if network.net:
        network.net.check_answers(drawn.prompts, drawn.answers, drawn.numbers)
    else:
        check_limits(network.config, drawn.prompts, drawn.tokens, tokenizer)


def told(
    task: Task, network: Given, name: str, positions: Sequence[str] | None, prompts: int, like: str | None
) -> Iterator[str]:
    """What is found, part by part. name: the network's; prompts: how many it is asked, 0 for none and no weights; like: see
    `compared`, by default the network itself if it has a name. DasError where the two do not fit."""
    tokenizer = network.tokenizer
    asked = f"task {task.name}, network {name} (--lm names another)"
    try:
        check_askable(task, network, positions)
    except DasError as error:
        raise DasError(f"{asked}: {error}") from error
    like = like or (name if name in NAMED and task.name in NAMED[name].known else None)
    if like:
        compared(task, tokenizer, like, None)  # before weights are loaded
    yield f"{asked}\n\n{task.show(tokenizer, positions)}\n"
    rows, notes, known = check(task, tokenizer, positions, network.lm if prompts else None, prompts)
    yield "\n".join([aligned(rows), "", *notes])
    if like:
        yield compared(task, tokenizer, like, known)
    yield f"{task.name}: sound with {name if network.net else f'the tokenizer of {name}'}"


def askable(task: Task, tokenizer: Tokenizer, shifts: Any) -> tuple[dict[str, Any], list[str]]:
    """Name → what was given for it, of the shifts (see `das.task.plain_shifts.named_shifts`) under which the question can be
    put to this network: with words that it knows, and answers that differ in their first token. Where all of the task's were
    asked for, the others are left out, with a line each; else DasError."""
    found, notes = {}, []
    for name, change in named_shifts(shifts, task.shifts).items():
        if fault := task.fault(change, tokenizer):
            if shifts != "all":
                raise DasError(f"shift {name!r}: {fault}")
            notes.append(f"shift {name!r} is left out: {fault}")
        else:
            found[name] = shifts[name] if isinstance(shifts, Mapping) else name
    return found, notes


def retrained(retrain: float | Mapping[str, float], shifts: Any, sound: Mapping[str, Any]) -> dict[str, float]:
    """Shift → the share of a grid that is to be trained under it, of those that can be asked (see `askable`)."""
    if not isinstance(retrain, Mapping):
        return dict.fromkeys(sound, retrain)
    for name in retrain:
        if name not in sound and shifts != "all":
            raise unknown("shift in retrain", name, sound)
    return {name: share for name, share in retrain.items() if name in sound}


def check(
    task: Task, tokenizer: Tokenizer, positions: Sequence[str] | None, network: LM | None, prompts: int
) -> tuple[list[tuple[str, ...]], list[str], Accuracy | None]:
    """A table with a row for the base prompt and every shift: tokens of a prompt, positions that exist, positions whose token
    is as in the base prompt, accuracy on so many prompts if there is a network; a line for every shift that cannot be asked;
    and the accuracy on the base prompt."""
    specs = expand_positions(task.positions if positions is None else positions)
    sound, notes = askable(task, tokenizer, "all")
    head = "prompt", "tokens", "positions that exist", "tokens there as in base", *(["accuracy"] if network else [])
    rows, found = [head], {}
    for name in (BASE, *sound):
        shifted = task.under(name, tokenizer)
        found[name] = accuracy(shifted.variant(BASE), network, prompts) if network else None
        rows.append((name, *_cells(task, shifted, tokenizer, specs, found[name])))
    return rows, notes, found[BASE]


def compared(task: Task, tokenizer: Tokenizer, like: str, found: Accuracy | None) -> str:
    """A line that says how a copy of a named network compares with what is published of it. DasError where it is another one:
    a prompt of more or fewer tokens (all positions would name others), or (if it was measured) another accuracy."""
    if like not in NAMED:
        raise unknown("network", like, NAMED)
    if (known := NAMED[like].known.get(task.name)) is None:
        return f"nothing is published of {like} and {task.name} to compare with"
    tokens = task.example().encode(tokenizer).width
    if tokens != known.tokens:
        raise DasError(f"this copy makes {tokens} tokens of the prompt, {like} {known.tokens}: it has another tokenizer")
    if found is None:
        return f"as published of {like}: {tokens} tokens"
    if abs(found.share - known.accuracy) > APART:
        raise DasError(
            f"this copy answers {found.share:.2f} of the prompts correctly, {like} {known.accuracy:.2f}: other weights?"
        )
    return f"as published of {like}: {tokens} tokens, accuracy {found.share:.2f} ({known.accuracy:.2f})"


def _cells(task: Task, shifted: Task, tokenizer: Tokenizer, specs: Sequence[str], known: Accuracy | None) -> Iterator[str]:
    """A row of the table, without its name."""
    found = shifted.coverage(BASE, tokenizer, specs)
    here = [name for name in specs if found[name] == 1]
    home = task.tokens_at(tokenizer, here)
    lost = [f"{name} in {share:.0%}" for name, share in found.items() if share < 1]
    yield str(shifted.example().encode(tokenizer).width)
    yield f"{len(here)} of {len(found)}" + (f" ({', '.join(lost)})" if lost else "")
    yield f"{sum(token == home[name] for name, token in shifted.tokens_at(tokenizer, here).items())} of {len(here)}"
    if known:
        yield f"{known.share:.3f}" + ("" if known.solved else f" (not solved: the commonest answer is {known.commonest:.2f})")
