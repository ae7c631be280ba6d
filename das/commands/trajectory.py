"""`das trajectory`: an answer on its way through the layers."""

from __future__ import annotations

from typing import Any


def trajectory(
    task: str, lm: str | None = None, hypothesis: str | None = None, layers: str | list[int] = "all",
    positions: list[str] | None = None, pairs: int = 256, answered: str = "right", answer: str | None = None,
    under: Any = "base", seed: int = 0, dtype: str = "float32", device: str = "auto", threads: int = 0,
    out: str | None = None, json: str | None = None,
) -> None:  # fmt: skip
    """Follow an answer through the layers: its probability and rank when the network's own head reads each layer's state.

    Names the roles of attention heads by a written rule, too. Prints both, and writes trajectory and heads, each as .json, .csv
    and .png.

    Args:
        task: Task file or name.
        lm: Network, as for `das run`; needed.
        hypothesis: Whose prompts are taken; by default the task's first.
        layers: all, or layer numbers from 0.
        positions: Places in the prompt; by default the task's.
        pairs: How many pairs are drawn; their base prompts are used.
        answered: Which of these: those that the network answers right (by default), wrong, or all.
        answer: An answer of the task to look for in every prompt, in place of the right one.
        under: The shift to ask under.
        seed: Of the pairs.
        dtype: Of the network's numbers: float32, bfloat16 or float16.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Threads of the processor; 0 leaves it to torch.
        out: The folder to write to; by default runs/trajectory-TASK.
        json: A file to write it to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.commands.studied import studied
    from das.use.trajectory import trajectory

    settings = {"layers": layers, "positions": positions, "under": under, "seed": seed, "dtype": dtype, "device": device}
    settings |= {"answered": answered, "answer": answer}
    studied("trajectory", task, lm, out, threads, json, lambda: trajectory(task, lm, hypothesis, pairs=pairs, **settings))
