"""`das monitor`: a text whose tokens are coloured by what an alignment reads."""

from __future__ import annotations


def monitor(
    run: str, cell: str, text: str | None = None, file: str | None = None, variable: str | None = None,
    layers: str | int | list[int] | None = None, by: str = "mean", out: str | None = None, json: str | None = None,
) -> None:  # fmt: skip
    """Monitor a text: every token read along a direction that was found.

    Prints a line per token, and writes monitor.html, monitor.png and monitor.json into monitor/CELL in the run's folder.

    Args:
        run: The run's folder.
        cell: A cell of it, or a hypothesis, whose chosen cell is meant.
        text: The text to read, or values of the task's inputs, as in {amount: 4.0, lower: 2.0, upper: 6.0}.
        file: In its place, a file that holds it, in UTF-8.
        variable: Whose direction, where the alignment has several variables.
        layers: A number, a list, or a band such as 3..6; by default the alignment's own layer.
        by: What is coloured where there are several layers: their mean, or each layer in a strip of its own (layer).
        out: A folder to write to, in place of the run's.
        json: A file to write the readings to as well, as JSON; without a file they are printed so, in the text's place.
    """
    from pathlib import Path

    from das.commands.told import tell
    from das.use.monitored import checked_by
    from das.use.run import Run

    checked_by(by)
    opened = Run.open(run)
    found = opened.monitor(cell, _text(text, file), variable, layers)
    paths = found.write(Path(out) if out else opened.folder / "monitor" / found.cell.id, by)
    tell("\n".join([found.text(), "", *map(str, paths)]), found.plain(), json)


def _text(text: str | None, file: str | None) -> object:
    """The text, or that of the file. DasError unless there is one of them."""
    from pathlib import Path

    from das.errors import DasError
    from das.use.typed import prompt

    if (text is None) == (file is None):
        raise DasError("das monitor reads one text: give it after the cell, or a file, --file FILE")
    if file is None:
        return prompt(text)
    try:
        return Path(file).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise DasError(f"{file} cannot be read as a text in UTF-8: {error}") from error
