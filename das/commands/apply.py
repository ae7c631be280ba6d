"""`das apply`: an alignment on prompts of one's own."""

from __future__ import annotations

from typing import Any


def apply(
    run: str, cell: str, base: str, source: str | None = None, sources: dict[str, Any] | None = None,
    position: str | None = None, base_position: str | None = None, source_position: str | None = None, token: str = "all",
    occurrence: int | None = None, top: int = 3, generate: int = 0, json: str | None = None,
) -> None:  # fmt: skip
    """Swap what an alignment found between two prompts of your own: the answer before, of the source, and after.

    Args:
        run: The run's folder.
        cell: A cell of it, or a hypothesis, whose chosen cell is meant.
        base: The prompt that is changed: a text, or values of the task's inputs, as in {amount: 4.0, lower: 2.0, upper: 6.0}.
        source: The prompt that the change is taken from, likewise; values that it leaves out are the base's.
        sources: In place of a source: variable → its own, of a hypothesis with several. One that is left out keeps its value.
        position: Where the swap lies in both: the number of a token (from the end with -1), the name of a position, or a piece
            of the text, in quotes where it could be taken for one of the others, as in '"4"'. By default the alignment's own.
            Of several positions a mapping, as in {c.last: 8, last: -1}.
        base_position: Where it lies in the base, if that differs.
        source_position: Where it lies in the source, if that differs.
        token: Which token of a piece of the text: first, last or all.
        occurrence: Which of several pieces that are alike, from 0, or from the end with -1.
        top: How many tokens are shown; where a network gives numbers, all are shown.
        generate: So many tokens more, as the text goes on before, of the source and after; 0 for none.
        json: A file to write it to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.commands.told import tell
    from das.use.run import Run
    from das.use.typed import pointers, prompt

    swapper, named = Run.open(run).swapper(cell), {} if sources is None else {v: prompt(given) for v, given in sources.items()}
    places = {"position": position, "base_position": base_position, "source_position": source_position}
    given: dict[str, Any] = {name: pointers(text, token, occurrence) for name, text in places.items()}
    given |= {"source": prompt(source), "sources": named or None}
    found = swapper.apply(prompt(base), **given)
    text, body = found.text(top), dict[str, Any](pairs=found.plain(top))
    if generate:
        said = swapper.generate(prompt(base), tokens=generate, **given)
        text, body = f"{text}\n\n{said.text()}", body | {"generated": said.texts}
    tell(text, body, json)
