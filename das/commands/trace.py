"""`das trace`: which states of a network bring a clean answer back."""

from __future__ import annotations

from typing import Any


def trace(
    task: str, lm: str | None = None, hypothesis: str | None = None, corrupt: str = "source", field: str | None = None,
    sigmas: float = 3.0, kinds: list[str] | None = None, window: int | None = None, layers: str | list[int] = "all",
    positions: list[str] | None = None, pairs: int = 256, families: dict[str, float] | None = None, under: Any = "base",
    seed: int = 0, dtype: str = "float32", device: str = "auto", threads: int = 0, out: str | None = None,
    json: str | None = None,
) -> None:  # fmt: skip
    """Trace what an answer goes by: corrupt a run, put single states of the clean run back, see which bring the answer back.

    Prints the best cells, and writes trace.json, trace.csv and trace.png.

    Args:
        task: Task file or name.
        lm: Network, as for `das run`; needed.
        hypothesis: Whose pairs are taken; by default the task's first.
        corrupt: By what a run is corrupted: source (the pair's base: every cell is an interchange), or noise on a field.
        field: Of noise, the field of the prompt upon whose embeddings it lies.
        sigmas: Of noise, its size in standard deviations of these embeddings.
        kinds: What is put back: state (a layer's output), mlp, attention (what those of a window of layers add); or all of it.
        window: How many layers' MLPs or attentions are put back together; by default a fifth of the layers.
        layers: all, or layer numbers from 0.
        positions: Places in the prompt; by default the task's.
        pairs: How many pairs are drawn; those that the network answers rightly are used.
        families: Family of pairs and its share, as for `das run`.
        under: The shift to trace under.
        seed: Of pairs and noise.
        dtype: Of the network's numbers: float32, bfloat16 or float16.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Threads of the processor; 0 leaves it to torch.
        out: The folder to write to; by default runs/trace-TASK.
        json: A file to write it to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.circuits.tracing import KINDS
    from das.commands.studied import studied
    from das.progress import console
    from das.use.causal_trace import causal_trace

    settings: dict[str, Any] = {
        "families": families or None,
        "layers": layers, "positions": positions, "under": under, "seed": seed, "dtype": dtype, "device": device,
        "corrupt": corrupt, "field": field, "sigmas": sigmas, "kinds": kinds or list(KINDS), "window": window, "pairs": pairs,
    }  # fmt: skip
    studied("trace", task, lm, out, threads, json, lambda: causal_trace(task, lm, hypothesis, report=console(), **settings))
