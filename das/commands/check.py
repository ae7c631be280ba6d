"""`das check`: a task and a network, held against each other."""

from __future__ import annotations


def check(
    task: str, lm: str = "price-tagger-tiny", positions: list[str] | None = None, accuracy: bool = True, prompts: int = 200,
    like: str | None = None, columns: dict[str, str | None] | None = None, dtype: str = "float32", device: str = "auto",
    threads: int = 0,
) -> None:  # fmt: skip
    """Check a task with a network: its positions, its shifts, the network's accuracy.

    Shows a prompt with its positions; for it and for every shift, in how many prompts each position exists and how many
    the network answers correctly.

    Args:
        task: Task file or name.
        lm: Network whose tokenizer (and, with --accuracy, weights) to try; a task with other words needs one that knows them.
        positions: Places to mark; by default the task's.
        accuracy: Also load the weights and measure the network's accuracy.
        prompts: How many prompts it is measured on, as they are and under every shift.
        like: A named network, such as alpaca-7b, of which this must be a copy: by the tokens of a prompt and the accuracy; by
            default the network itself, if it has a name.
        columns: Of a table of pairs, what its columns are, as for `das run`: {clean: base, id: null}.
        dtype: Of the network's numbers: float32, bfloat16 or float16.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Threads of the processor; 0 leaves it to torch.
    """
    from das.ground.checks import whole
    from das.network.device import check_device, check_dtype, device_of
    from das.network.given import Given
    from das.run.check import MOST, told
    from das.run.settings import THREADS
    from das.task.files import load_task

    whole("threads", threads, 0, THREADS)
    whole("prompts", prompts, 1, MOST)
    check_dtype(dtype)
    check_device(device)
    asked = load_task(task, columns=columns)
    network = Given(lm, dtype, str(device_of(device)) if accuracy else device)
    if threads:
        import torch

        torch.set_num_threads(threads)
    for part in told(asked, network, lm, positions, prompts if accuracy else 0, like):
        print(part)
