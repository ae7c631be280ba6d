"""`das check`: a task and a network, held against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from das.text import aligned

if TYPE_CHECKING:
    from das.task.task import Task


def check(
    task: str, lm: str = "price-tagger-tiny", positions: list[str] | None = None, accuracy: bool = True,
    like: str | None = None, dtype: str = "float32", device: str = "auto", threads: int = 0,
) -> None:  # fmt: skip
    """Check a task with a network: its positions, its shifts, the network's accuracy.

    Shows a prompt with its positions; for it and for every shift, in how many prompts each position exists and how many
    the network answers correctly.

    Args:
        task: Task file or name.
        lm: Network whose tokenizer (and, with --accuracy, weights) to try; a task with other words needs one that knows them.
        positions: Places to mark; by default the task's.
        accuracy: Also load the weights and measure the network's accuracy.
        like: A named network, such as alpaca-7b, of which this must be a copy: by the tokens of a prompt and the accuracy; by
            default the network itself, if it has a name.
        dtype: Of the network's numbers: float32, bfloat16 or float16.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Threads of the processor; 0 leaves it to torch.
    """
    from das.ground.checks import whole
    from das.network.device import check_device, check_dtype
    from das.run.settings import THREADS
    from das.task.files import load_task

    whole("threads", threads, 0, THREADS)
    check_dtype(dtype)
    check_device(device)
    _check(load_task(task), lm, positions, accuracy, like, dtype, device, threads)


def _check(
    task: Task, lm: str, positions: list[str] | None, accuracy: bool, like: str | None, dtype: str, device: str, threads: int
) -> None:  # fmt: skip
    import numpy as np
    import torch

    from das.network.device import device_of
    from das.network.given import Given
    from das.network.limits import check_limits
    from das.network.named import NAMED
    from das.run.check import check, compared

    device = str(device_of(device)) if accuracy else device
    network = Given(lm, dtype, device)
    tokenizer = network.tokenizer
    network.check_form(task.prompt)
    task.check(tokenizer, positions)
    print(task.show(tokenizer, positions))
    like = like or (lm if lm in NAMED and task.name in NAMED[lm].known else None)
    if like:
        compared(task, tokenizer, like, None)  # before weights are loaded
    if threads:
        torch.set_num_threads(threads)
    drawn = task.draw("base", tokenizer, np.random.default_rng(0), 200)
    if network.net:
        network.net.check_answers(drawn.prompts, drawn.answers, drawn.numbers)
    else:
        check_limits(network.config, drawn.prompts, drawn.tokens, tokenizer)
    rows, notes, known = check(task, tokenizer, positions, network.lm if accuracy else None)
    print("\n".join(["", aligned(rows), "", *notes]))
    if like:
        print(compared(task, tokenizer, like, known))
    print(f"{task.name}: sound with {lm if network.net else f'the tokenizer of {lm}'}")
