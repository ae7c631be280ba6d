"""`das fit-sae`: a dictionary of a network's activations."""

from __future__ import annotations


def fit_sae(
    site: str, lm: str | None = None, text: str | None = None, out: str | None = None, kind: str = "batchtopk",
    latents: int = 2048, k: int = 32, l1: float = 5.0, tokens: int = 200_000, steps: int = 2000, batch: int = 512,
    lr: float = 1e-3, context: int = 128, seed: int = 0, dtype: str = "float32", device: str = "auto", threads: int = 0,
    json: str | None = None,
) -> None:  # fmt: skip
    """Train a sparse autoencoder on what a network has at a site while it reads; a killed training goes on where it was.

    Args:
        site: a layer's number, or a component and its layer, such as mlp_output[3].
        lm: a network's name, hub id, folder or GGUF file; needed.
        text: needed: a file or folder of text to read, or a task, whose prompts are drawn.
        out: the folder to write, in SAELens' layout; by default under dictionaries/.
        kind: batchtopk, topk, jumprelu or l1: how latents are kept few.
        latents: how many latents.
        k: how many latents are active in a vector; of batchtopk and jumprelu on average.
        l1: what activity costs, for the kind l1.
        tokens: of the text, at most.
        steps: of the training.
        batch: vectors of a step.
        lr: how fast it learns.
        context: tokens of a text that are read together.
        seed: of what is drawn.
        dtype: float32, bfloat16 or float16, of the network.
        device: auto, cpu, cuda or mps.
        threads: of the processor; 0 leaves it to PyTorch.
        json: what it is worth as data: beside the text into a file, or without a value in its place.
    """
    import torch

    import das.run.fit_sae as training
    from das.commands.told import tell
    from das.errors import DasError
    from das.ground.checks import whole
    from das.progress import console
    from das.run.settings import THREADS

    if lm is None or text is None:
        raise DasError("fit-sae needs a network and what it is to read: --lm NAME --text FILE|TASK")
    if whole("threads", threads, 0, THREADS):
        torch.set_num_threads(threads)
    folder = out or f"dictionaries/{training.folder_name(lm, site)}"
    found = training.fit_sae(
        site, lm, text, folder, kind=kind, latents=latents, k=k, l1=l1, tokens=tokens, steps=steps, batch=batch, lr=lr,
        context=context, seed=seed, dtype=dtype, device=device, report=console(),
    )  # fmt: skip
    worth = {name: found.about[name] for name in ("explained", "l0", "dead", "vectors", "left_out", "seconds")}
    tell(
        f"{folder}: {worth['explained']:.3f} of the variance explained, {worth['l0']:.1f} latents active in a vector, "
        f"{worth['dead']:.3f} of the latents dead, on {worth['vectors']:,} held-out vectors; "
        f"{worth['left_out']:.4f} of the vectors were left out as sinks",
        {"folder": folder, **worth}, json,
    )  # fmt: skip
