"""Fit settings: what training a network does, as plain data that a YAML file or a command line fills in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from das.errors import DasError, shown
from das.ground.checks import number, whole
from das.network.device import check_dtype
from das.run.entries import shares
from das.run.lorra import Lorra
from das.run.settings import MANY, PAIRS, SEEDS, THREADS, Named, check_fields


@dataclass
class FitSettings:
    """How `das fit-lm` trains a small Llama from scratch, or a network that is there.

    Args:
        task: Task file or name.
        out: Folder for the network; by default models/<task>.
        base: Network to begin with, such as smollm2-135m, with its own tokenizer and shape; by default a new one.
        lora: Train, and write, an adapter of a few MB instead of the base's weights (needs the package peft).
        lorra: Train an adapter that moves representations as a contrast of two prompts does, instead of one that answers: a
            mapping with the ways to ask `plus` and `minus`, as in "{plus: {set: {x: 1}}, minus: {set: {x: 0}}}", and if wanted
            alpha (5), beta and along (a cell's folder), layers, rank (8), lr (3e-4), batch (16), steps (70).
        rank: Rank of the adapter's change of a weight matrix.
        dtype: Type of the weights that an adapter leaves as they are: float32, bfloat16 (faster where the processor
            multiplies in it).
        seed: Seed of the weights and of the prompts.
        width: Size of a hidden state.
        layers: Number of layers.
        heads: Attention heads per layer.
        whole_numbers: One token per number instead of one per digit.
        steps: Optimiser steps of the training.
        batch: Prompts per step.
        lr: Highest rate of AdamW's one-cycle schedule.
        warmup: Share of the steps in which the rate rises.
        weight_decay: Weight decay of AdamW.
        mix: First step → share of the rows per variant (base, shifts, siblings) from there on; by default a fair mix.
        clip: Largest norm of a step's gradient.
        exam: Prompts of each variant on which the accuracy is measured at the end.
        threads: Threads; 0 leaves it to torch.
    """

    task: Named
    out: str | None = None
    base: str | None = None
    lora: bool = False
    lorra: Any = None
    rank: int = 4
    dtype: str = "float32"
    seed: int = 0
    width: int = 128
    layers: int = 4
    heads: int = 4
    whole_numbers: bool = False
    steps: int = 2000
    batch: int = 128
    lr: float = 1e-3
    warmup: float = 0.3
    weight_decay: float = 0.01
    mix: dict[int, dict[str, float]] = field(default_factory=dict)
    clip: float = 1.0
    exam: int = 2000
    threads: int = 0

    BOUNDS: ClassVar[dict[str, tuple[int, int]]] = {
        **dict.fromkeys(["rank", "width"], (1, 2**16)), **dict.fromkeys(["layers", "heads"], (1, 1000)), "steps": (1, MANY),
        "batch": (1, 10**6), "exam": (1, PAIRS), "threads": (0, THREADS), "seed": (0, SEEDS),
    }  # fmt: skip

    def __post_init__(self) -> None:
        if self.lorra is not None:
            self._take(Lorra.of(self.lorra))
        check_fields(self, self.BOUNDS)
        self.lr = number("lr", self.lr, 0, 10, above=True)
        self.warmup = number("warmup", self.warmup, 0, 1)
        self.weight_decay = number("weight_decay", self.weight_decay, 0, 100)
        self.clip = number("clip", self.clip, 0, above=True)
        self.mix = {whole("step in mix", step, 0, MANY): shares("mix", phase) for step, phase in self.mix.items()}
        if self.base is None and self.width % (2 * self.heads):
            raise DasError(
                f"width is {self.width} and heads is {self.heads}: expected a width that {2 * self.heads} divides, "
                f"two numbers or a multiple for every head, such as {2 * self.heads * max(1, self.width // (2 * self.heads))}"
            )
        if self.lora and self.base is None:
            raise DasError("lora needs a network to adapt: name it with --base, such as smollm2-135m")
        check_dtype(self.dtype)
        if self.dtype != "float32" and not self.lora:
            raise DasError(f"dtype is {self.dtype}: trained weights are float32; only with lora may the base be another")

    def _take(self, lorra: Lorra) -> None:
        """What is set for representations counts for the training; DasError where both say it, and not the same."""
        for name in ("rank", "lr", "batch", "steps"):
            given, default = getattr(self, name), getattr(type(self), name)
            if given not in (default, getattr(lorra, name)):
                raise DasError(f"{name} is {shown(given)}: with lorra say it there, as in lorra: {{{name}: {given}}}")
            setattr(self, name, getattr(lorra, name))
        self.lorra, self.lora = asdict(lorra), True
