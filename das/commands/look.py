"""`das look`: inside an alignment."""

from __future__ import annotations


def look(run: str, cell: str, prompts: int = 500, json: str | None = None) -> None:
    """Look inside an alignment: how prompts lie in its columns, which entries, heads and tokens it belongs to, and how near it
    lies to others.

    Prints tables, and writes inside.json and pictures into look/CELL in the run's folder.

    Args:
        run: The run's folder.
        cell: A cell by its id, or a hypothesis, whose chosen cell is meant.
        prompts: Natural prompts to draw.
        json: A file to write the tables to as well.
    """
    from das.commands.told import tell
    from das.ground.checks import whole
    from das.use.run import Run

    whole("prompts", prompts, 2, 10**5)
    opened = Run.open(run)
    inside = opened.look(cell, prompts)
    paths = inside.write(opened.folder / "look" / inside.alignment.cell.id)
    tell("\n".join([inside.text(), "", *map(str, paths)]), inside.plain(), json)
