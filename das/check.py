"""Check: under which shifts a task can be put to a network, and how well it answers there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from das.errors import DasError, unknown
from das.evaluate import accuracy
from das.lm import LM
from das.prompt import Tokenizer, expand_positions
from das.shifts import Change, Shift, named_shifts
from das.task import Task


def askable(task: Task, tokenizer: Tokenizer, shifts: Any) -> tuple[dict[str, Any], list[str]]:
    """Name → what was given for it, of the shifts (see `das.shifts.named_shifts`) under which the question can be put to this
    network: with words that it knows, and answers that differ in their first token. Where all of the task's were asked for,
    the others are left out, with a line each; else DasError."""
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
    task: Task, tokenizer: Tokenizer, positions: Sequence[str] | None, lm: str | None
) -> tuple[list[tuple[str, ...]], list[str]]:
    """A table with a row for the base prompt and every shift: tokens of a prompt, positions that exist, positions whose token
    is as in the base prompt, accuracy if a network is named; and a line for every shift that cannot be asked."""
    specs = expand_positions(task.positions if positions is None else positions)
    sound, notes = askable(task, tokenizer, "all")
    network = LM.load(lm) if lm else None
    head = "prompt", "tokens", "positions that exist", "tokens there as in base", *(["accuracy"] if network else [])
    changes: dict[str, Change] = {"base": Shift(), **{name: task.shifts[name] for name in sound}}
    rows = [(name, *_cells(task, change, tokenizer, specs, network)) for name, change in changes.items()]
    return [head, *rows], notes


def _cells(task: Task, change: Change, tokenizer: Tokenizer, specs: Sequence[str], network: LM | None) -> Iterator[str]:
    """A row of the table, without its name."""
    shifted, found = task.under(change, tokenizer), task.coverage(change, tokenizer, specs)
    here = [name for name in specs if found[name] == 1]
    home = task.tokens_at(tokenizer, here)
    lost = [f"{name} in {share:.0%}" for name, share in found.items() if share < 1]
    yield str(len(tokenizer(shifted.example().texts[0])["input_ids"]))
    yield f"{len(here)} of {len(found)}" + (f" ({', '.join(lost)})" if lost else "")
    yield f"{sum(token == home[name] for name, token in shifted.tokens_at(tokenizer, here).items())} of {len(here)}"
    if network:
        known = accuracy(shifted.variant("base"), network)
        yield f"{known.share:.3f}" + ("" if known.solved else f" (not solved: the commonest answer is {known.commonest:.2f})")
