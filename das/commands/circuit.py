"""`das circuit`: along which edges a variable reaches a network's answer."""

from __future__ import annotations

from typing import Any


def circuit(
    task: str, lm: str | None = None, hypothesis: str | None = None, variable: str | None = None, method: str = "eap-ig",
    steps: int = 5, swap: str = "source", threshold: float = 0.8, cut_below: float = 0.01, pairs: int = 128, draws: int = 5,
    positions: list[str] | None = None, families: dict[str, float] | None = None, under: Any = "base", seed: int = 0,
    dtype: str = "float32", device: str = "auto", threads: int = 0, out: str | None = None, json: str | None = None,
) -> None:  # fmt: skip
    """Find the smallest circuit by which a variable reaches the answer, and judge it by swapping edges, beside nulls.

    Prints what it carries and its strongest edges, and writes circuit.json, edges.parquet, circuit.png and curve.png. A search
    that is stopped or killed goes on where it was when the same command is repeated.

    Args:
        task: Task file or name.
        lm: Network, as for `das run`; needed. It must add up its parts, as Llama, GPT-2, Qwen2 and GPT-NeoX do.
        hypothesis: Whose variable it is; by default the task's first.
        variable: Which of its variables; by default its first.
        method: How edges are scored: eap-ig or eap by gradients, acdc by cutting one after another, where there are few.
        steps: Runs between source and base over which eap-ig takes its gradients.
        swap: What a swapped edge carries: what its node adds in the source's run (source), nothing (zero), or the mean (mean).
        threshold: The least that the lower end of the circuit's faithfulness may be, as a share of the whole network's.
        cut_below: Of acdc, the share of the logit difference below which an edge is cut.
        pairs: Pairs drawn for each of scoring, choosing and testing, of which those are used whose tokens line up and both of
            whose prompts the network answers rightly.
        draws: Random circuits that the chosen one is compared with on test pairs.
        positions: Where scores are told by themselves; by default the task's.
        families: Family of pairs and its share, as for `das run`; by default pairs in which only the variable's causes change.
        under: The shift to look under.
        seed: Of pairs and nulls.
        dtype: Of the network's numbers: float32, bfloat16 or float16.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Threads of the processor; 0 leaves it to torch.
        out: The folder to write to; by default runs/circuit-TASK.
        json: A file to write it to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.commands.studied import place, studied
    from das.progress import console
    from das.use.circuit import circuit as found
    from das.use.finding import Finding

    settings: dict[str, Any] = {
        "families": families or None,
        "positions": positions, "under": under, "seed": seed, "dtype": dtype, "device": device, "variable": variable,
        "steps": steps, "method": method, "swap": swap, "threshold": threshold, "cut_below": cut_below, "pairs": pairs,
        "draws": draws,
    }  # fmt: skip

    def find() -> Finding:
        return found(task, lm, hypothesis, report=console(), folder=place("circuit", task, out), **settings)

    studied("circuit", task, lm, out, threads, json, find)
