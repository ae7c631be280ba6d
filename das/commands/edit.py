"""`das edit`: facts written into a network's weights, and what comes of it."""

from __future__ import annotations

from typing import Any


def edit(
    task: str, lm: str | None = None, text: str | None = None, hypothesis: str | None = None, input: str | None = None,
    moves: list[list[Any]] | None = None, count: int = 4, layers: list[int] | None = None, position: str | None = None,
    methods: list[str] | None = None, shifts: list[str] | None = None, reverse: list[str] | None = None,
    neighbours: int = 12, tokens: int = 20_000, context: int = 128, contexts: int = 3, cache: str = "covariances",
    seed: int = 0, dtype: str = "float32", device: str = "auto", threads: int = 0, out: str | None = None,
    json: str | None = None,
) -> None:  # fmt: skip
    """Edit a fact in the weights of one MLP (ROME), and see what is answered then, of the subject and of others.

    Prints the share of questions answered as the causal model says, and writes edit.json, edit.csv, edit.png and a patch for
    each edit, which `das patch` puts into a network's files.

    Args:
        task: Task file or name.
        lm: Network, as for `das run`; needed.
        text: A file or folder of text to read, or a task: for how common a key is, and for contexts; needed.
        hypothesis: Whose variable is edited; by default the task's first.
        input: What the variable is moved with; by default the one input that it is computed from.
        moves: Pairs of its values, as in "[[France, Italy]]": let France's be what Italy's is; by default drawn ones.
        count: How many moves are drawn.
        layers: Whose MLP is edited, each by itself; by default one at a fourth of the depth.
        position: Where the subject ends; by default the last token of the input.
        methods: rome, twin (its value as an activation), tuned (the same matrix, fine-tuned), direction (the mean difference of
            the two subjects, added) and none; by default rome and twin.
        shifts: Under which questions are put beside the task's own; by default all.
        reverse: Shifts that name the new value and ask for the subject; by default one that is called reverse.
        neighbours: Questions about other subjects, for each move and shift.
        tokens: Of the text, at most.
        context: Tokens of the text that are read together.
        contexts: Beginnings of the text that stand before a question in turn while the value is looked for.
        cache: A folder in which second moments of keys are kept, by network, layer and text.
        seed: Of what is drawn.
        dtype: Of the network's numbers: float32, bfloat16 or float16.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Threads of the processor; 0 leaves it to torch.
        out: The folder to write to; by default runs/edit-TASK.
        json: A file to write it to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.commands.studied import studied
    from das.errors import DasError
    from das.ground.checks import folder
    from das.progress import console
    from das.use.editing import edits

    if text is None:
        raise DasError("edit needs a text that the network reads, to know which keys are common: --text FILE|TASK")
    settings: dict[str, Any] = {
        "text": text, "input": input, "moves": [tuple(move) for move in moves or []], "count": count, "layers": layers,
        "position": position, "methods": methods or ["rome", "twin"], "shifts": shifts, "reverse": reverse,
        "neighbours": neighbours, "tokens": tokens, "context": context, "contexts": contexts, "cache": folder("cache", cache),
        "seed": seed, "dtype": dtype, "device": device,
    }  # fmt: skip
    studied("edit", task, lm, out, threads, json, lambda: edits(task, lm, hypothesis, report=console(), **settings))
