"""`das steer`: a network controlled by what an alignment found."""

from __future__ import annotations

from typing import Any


def steer(
    run: str, cell: str, prompt: str, operator: str = "add", alpha: float | None = None, spreads: float | None = None,
    variable: str | None = None, layers: str | int | list[int] | None = None, position: str | None = None,
    new: str | int | list[int] | None = None, source: str | None = None, source_position: str | None = None,
    plus: str | None = None, minus: str | None = None, also: list[dict[str, Any]] | None = None, tokens: int | None = None,
    json: str | None = None,
) -> None:  # fmt: skip
    """Steer a network by what an alignment found: how a text goes on before and after.

    Args:
        run: The run's folder.
        cell: A cell of it, or a hypothesis, whose chosen cell is meant.
        prompt: The text to go on from, or values of the task's inputs, as in {amount: 4.0, lower: 2.0, upper: 6.0}.
        operator: What is done to the vectors: add (a direction), piecewise (turn up what is there along it), project_out (take
            all of it out), interchange (put the source's part in), contrast (add the difference of plus and minus).
        alpha: How much is added: a length along the direction; of contrast a factor, 1 by default.
        spreads: In place of alpha, in natural spreads along the direction, as in the pictures of doses.
        variable: Whose direction, where the alignment has several variables.
        layers: A number, a list, or a band such as 3..6; by default the alignment's own layer.
        position: Tokens of the prompt to steer at: a number, the name of a position, a piece of the text in quotes, or all.
        new: New tokens whose making is steered: all, or their numbers from 0. By default all, unless a position is given.
        source: Of interchange, the prompt that the part is taken from.
        source_position: Where that lies in it, if not where the alignment was found.
        plus: Of contrast, the prompt to go towards.
        minus: Of contrast, the prompt to go away from.
        also: What steers at once, each with its own cell and options, as in [{cell: other, alpha: -2}].
        tokens: How many tokens are generated; by default as many as the task's answers have, and 20 after a text.
        json: A file to write it to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.commands.told import tell
    from das.use.run import Run
    from das.use.typed import pointer
    from das.use.typed import prompt as typed
    from das.use.way import Way

    way: dict[str, Any] = {
        "operator": operator, "alpha": alpha, "spreads": spreads, "variable": variable, "layers": layers, "new": new,
        "position": pointer(position), "source": typed(source), "source_position": pointer(source_position),
        "plus": typed(plus), "minus": typed(minus),
    }  # fmt: skip
    Way.of(way)
    said = Run.open(run).steer(cell, typed(prompt), also or [], tokens=tokens, **way)
    tell(said.text(), {"what": said.what, "prompts": said.prompts, "generated": said.texts}, json)
