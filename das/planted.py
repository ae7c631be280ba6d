"""Planted networks: small networks whose variables lie where we put them, to try a method on before it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.causal import CausalModel
from das.domains import Range
from das.lm import LM
from das.prompt import Prompt
from das.subspace import random_basis
from das.task import Hypothesis, Task
from das.tokenizer import make_tokenizer

NOISES = 256


def xor_task(bits: int) -> Task:
    """x XOR y of two numbers of `bits` bits, the variable being `code`, a copy of x: all of its bits are needed. A third
    number has no meaning: it makes prompts many and activations noisy."""
    numbers = {"x": Range(0, 2**bits - 1), "y": Range(0, 2**bits - 1), "noise": Range(0, NOISES - 1)}

    def code(x: Any) -> Any:
        return x + 0

    def xor(code: Any, y: Any) -> Any:
        return code ^ y

    model = CausalModel(code, xor, inputs=numbers)
    prompt = Prompt("{x} {y} {noise} =", lambda value: f" {value}")
    return Task(prompt, {"code": Hypothesis(model, "code")}, name=f"xor{bits}")


@dataclass(frozen=True)
class Planted:
    """A task, a network that solves it, and the basis (d, bits) of the subspace that carries `code` after layer 0 at the
    last position: one bit per column, in a random rotation, among other content in the other directions."""

    task: Task
    lm: LM
    basis: Tensor


def plant(bits: int, width: int = 64, seed: int = 0) -> Planted:
    """A network that computes `xor_task(bits)` with x in a known random subspace of rank `bits`."""
    if 2 * bits >= width:
        raise ValueError(f"width {width} has no room for two codes of {bits} bits and a rest")
    generator = torch.Generator().manual_seed(seed)
    task = xor_task(bits)
    words = [f"{value} =" for value in range(max(2**bits, NOISES))]
    tokenizer = make_tokenizer(words, whole_numbers=True)
    directions = random_basis(width, width, generator)
    model = _XorNetwork(tokenizer, bits, directions, generator)
    return Planted(task, LM(model, tokenizer, task.name), directions[:, :bits])


class _Blocks(nn.Module):
    """Holds the layers where a Hugging Face model would."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class _Sum(nn.Module):
    """Gives every position the sum of what lies before it: so the last one knows both numbers."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.cumsum(1)


class _Multiply(nn.Module):
    """Reads both codes and writes their product, bit by bit, in place of the rest."""

    x: Tensor
    y: Tensor

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)
        self.register_buffer("y", y)

    def forward(self, hidden: Tensor) -> Tensor:
        product: Tensor = (hidden @ self.x) * (hidden @ self.y)
        return product @ self.x.T


class _XorNetwork(nn.Module):
    """Embeds the first number as ±1 bits in the directions of x, the second in those of y, the third as noise elsewhere."""

    def __init__(self, tokenizer: Any, bits: int, directions: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        width, size = len(directions), 2**bits
        self.config = SimpleNamespace(hidden_size=width, num_hidden_layers=2, vocab_size=len(tokenizer))
        self.config.get_text_config = lambda: self.config
        x, y, rest = directions.split([bits, bits, width - 2 * bits], dim=1)
        every = torch.tensor(tokenizer.convert_tokens_to_ids([str(value) for value in range(max(size, NOISES))]))
        ids = every[:size]
        signs = torch.from_numpy(1.0 - 2.0 * ((np.arange(size)[:, None] >> np.arange(bits)) & 1)).float()
        noise = torch.randn(len(every), width - 2 * bits, generator=generator) @ rest.T
        self.embeddings: Any = nn.ModuleList(nn.Embedding(len(tokenizer), width) for _ in range(3))
        for embedding, rows, vectors in zip(self.embeddings, (ids, ids, every), (signs @ x.T, signs @ y.T, noise), strict=True):
            embedding.weight.data = torch.zeros(len(tokenizer), width).index_copy(0, rows, vectors)
        self.model = _Blocks(_Sum(), _Multiply(x, y))
        self.head = nn.Linear(width, len(tokenizer), bias=False)
        self.head.weight.data = torch.zeros(len(tokenizer), width).index_copy(0, ids, 2 * signs @ x.T)

    def get_input_embeddings(self) -> nn.Embedding:
        first: nn.Embedding = self.embeddings[0]
        return first

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, use_cache: bool = False) -> Any:
        """Logits at every position. Position 0 is the start token, 1 to 3 hold the numbers."""
        places = [(position_ids == place) & (attention_mask > 0) for place in (1, 2, 3)]
        hidden = sum(e(input_ids) * place[..., None] for e, place in zip(self.embeddings, places, strict=True))
        for layer in self.model.layers:
            hidden = layer(hidden)
        return SimpleNamespace(logits=self.head(hidden))
