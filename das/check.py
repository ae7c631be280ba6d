"""Check: under which shifts a task can be asked of a network, and how well it answers there."""

from __future__ import annotations

from collections.abc import Sequence

from das.errors import DasError
from das.evaluate import accuracy
from das.lm import LM
from das.prompt import Tokenizer, expand_positions
from das.shifts import Change, Shift
from das.task import Task


def check(
    task: Task, tokenizer: Tokenizer, positions: Sequence[str] | None, lm: str | None
) -> tuple[list[tuple[str, ...]], list[str]]:
    """A table with a row for the base prompt and every shift: tokens of a prompt, positions that exist, positions whose token
    is as in the base prompt, accuracy if a network is named; and what is unsound."""
    specs = expand_positions(task.positions if positions is None else positions)
    changes: dict[str, Change] = {"base": Shift(), **task.shifts}
    unsound = {name: text for name, change in changes.items() if (text := _fault(task, change, tokenizer))}
    network = LM.load(lm) if lm else None
    home = task.tokens_at(tokenizer, specs)
    rows = [("prompt", "tokens", "positions that exist", "tokens there as in base", *(["accuracy"] if network else []))]
    for name, change in changes.items():
        if name in unsound:
            rows.append((name, "–", "–", "–", *(["–"] if network else [])))
            continue
        found = task.coverage(change, tokenizer, specs)
        here = [p for p in specs if found[p] == 1]
        shifted = task.under(change, tokenizer)
        same = sum(token == home[p] for p, token in shifted.tokens_at(tokenizer, here).items())
        length = len(tokenizer(shifted.example().texts[0])["input_ids"])
        known = [_accuracy(shifted, network)] if network else []
        rows.append((name, str(length), _coverage(found), f"{same} of {len(here)}", *known))
    return rows, [f"shift {name!r}: {text}" for name, text in unsound.items()]


def _fault(task: Task, change: Change, tokenizer: Tokenizer) -> str:
    """Why the task cannot be asked under a shift; empty where it can."""
    try:
        task.under(change, tokenizer)
        task.check_shift(change, tokenizer)
    except DasError as error:
        return str(error)
    return ""


def _accuracy(task: Task, network: LM) -> str:
    known = accuracy(task.variant("base"), network)
    return f"{known.share:.3f}" + ("" if known.solved else f" (not solved: the commonest answer is {known.commonest:.2f})")


def _coverage(found: dict[str, float]) -> str:
    lost = [f"{name} in {share:.0%}" for name, share in found.items() if share < 1]
    return f"{len(found) - len(lost)} of {len(found)}" + (f" ({', '.join(lost)})" if lost else "")
