"""Planted networks: small networks whose variables lie where we put them, to try a method on before it is trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from das.causal.domains import Domain, Range
from das.causal.model import CausalModel
from das.interchange.subspace import random_basis
from das.network.lm import LM
from das.task.hypothesis import Hypothesis
from das.task.prompt import Prompt
from das.task.task import Task
from das.task.tokenizer import make_tokenizer

NOISES = 256

LAST: Mapping[str, Any] = {"layers": [0], "positions": ["last"]}


@dataclass(frozen=True)
class Planted:
    """A task with one hypothesis, a network, and where in it that hypothesis' variable lies.

    basis: (d, columns), orthonormal: the subspace that carries the variable at the last site of the search, one bit per
        column; None where that is not known, or there is none.
    search: settings of an experiment that say where to look.
    """

    task: Task
    lm: LM
    basis: Tensor | None
    search: Mapping[str, Any] = field(default_factory=lambda: LAST)


def plant(bits: int, width: int = 64, seed: int = 0) -> Planted:
    """A network that computes `Xor(bits).task()` with x in a known random subspace of rank `bits`, after layer 0 at the last
    position, among other content in the other directions."""
    return Plan(Xor(bits), width, seed).plain()


# --- the task ---


class Xor:
    """x XOR y of two numbers of `bits` bits. A third number has no meaning: it makes prompts many and activations noisy.

    order: the code of each number (2^bits,), of which bits the XOR is taken; by default the number itself.
    decimals: of the third number, which with any takes three tokens.
    """

    def __init__(self, bits: int, order: NDArray[np.int64] | None = None, decimals: int = 0) -> None:
        self.bits, self.size = bits, 2**bits
        self.order = np.arange(self.size) if order is None else order
        self.prompt = Prompt(f"{{x}} {{y}} {{noise:.{decimals}f}} =", lambda value: f" {value}")
        step = 1 / 10**decimals if decimals else 1
        numbers = Range(0, self.size - 1)
        self.inputs: dict[str, Domain] = {"x": numbers, "y": numbers, "noise": Range(0, (NOISES - 1) * step, step)}

    @property
    def signs(self) -> Tensor:
        """(2^bits, bits): the bits of every number's code as ±1."""
        return torch.from_numpy(1.0 - 2.0 * ((self.order[:, None] >> np.arange(self.bits)) & 1)).float()

    def number(self, code: Any) -> Any:
        """The number that has a code."""
        return np.argsort(self.order)[code]

    def task(self) -> Task:
        """The variable is `code`, a copy of x: all of its bits are needed."""

        def code(x: Any) -> Any:
            return x + 0

        def xor(code: Any, y: Any) -> Any:
            return self.number(self.order[code] ^ self.order[y])

        return self.claim(CausalModel(code, xor, inputs=self.inputs), "code")

    def claim(self, model: CausalModel, variable: str) -> Task:
        return Task(self.prompt, {variable: Hypothesis(model, variable)}, name=f"xor{self.bits}")

    def hashed(self, seed: int) -> Task:
        """The variable is a random number for each prompt, which the answer is made to follow: right answers, but nothing
        that a network holds."""
        table = np.random.default_rng(seed).integers(0, self.size, (self.size, self.size, NOISES))

        def code(x: Any, y: Any, noise: Any) -> Any:
            return table[x, y, noise]

        def xor(code: Any, x: Any, y: Any, noise: Any) -> Any:
            return code ^ table[x, y, noise] ^ x ^ y

        return self.claim(CausalModel(code, xor, inputs=self.inputs), "code")

    def tokenizer(self) -> Any:
        """Knows every number of a prompt or answer as one token."""
        return make_tokenizer([f"{value} . =" for value in range(max(self.size, NOISES))], whole_numbers=True)


# --- its networks ---


class Plan:
    """What a seed decides of a network for a task: directions, in blocks of one per bit, and noise.

    x, y: (width, bits), where the codes of x and y are read; spare: further such blocks; rest: (width, others), the noise's.
    neurons: directions are single neurons instead of random ones.
    """

    def __init__(self, xor: Xor, width: int, seed: int, spare: int = 0, neurons: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.xor, self.width, self.tokenizer = xor, width, xor.tokenizer()
        if (2 + spare) * xor.bits >= width:
            raise ValueError(f"width {width} has no room for {2 + spare} codes of {xor.bits} bits and a rest")
        order = torch.randperm(width, generator=generator) if neurons else None
        directions = random_basis(width, width, generator) if order is None else torch.eye(width)[:, order]
        *blocks, self.rest = directions.split([xor.bits] * (2 + spare) + [width - (2 + spare) * xor.bits], dim=1)
        self.x, self.y, *self.spare = blocks
        words = self.tokenizer.convert_tokens_to_ids([str(value) for value in range(max(xor.size, NOISES))])
        self.numbers = torch.tensor(words)
        self.noise = torch.randn(len(words), self.rest.shape[1], generator=generator) @ self.rest.T

    def plain(self) -> Planted:
        """x in its block of the last position's vector, from which it is read."""
        return self.planted(self.code(self.x), [Sum(), self.multiply()], self.x)

    def code(self, directions: Tensor) -> Tensor:
        """(2^bits, width): every number's bits along directions (width, bits)."""
        return self.xor.signs @ directions.T

    def multiply(self, read: nn.Module | None = None, keep: Tensor | None = None) -> Multiply:
        """Reads x, by default where it lies, and y, and writes their product in place of x."""
        return Multiply(read or linear(self.x.T), linear(self.y.T), linear(self.x), None if keep is None else linear(keep))

    def planted(
        self, x: Tensor, layers: Sequence[nn.Module], basis: Tensor | None, task: Task | None = None,
        search: Mapping[str, Any] = LAST,
    ) -> Planted:  # fmt: skip
        """The network with these layers whose first token's embedding is x (numbers, width)."""
        codes = self.numbers[: self.xor.size]
        tables = [(self.numbers[: len(x)], x), (codes, self.code(self.y)), (self.numbers, self.noise)]
        empty = torch.zeros(len(self.tokenizer), self.width)
        embeddings = [empty.index_copy(0, rows, vectors) for rows, vectors in tables]
        task = task or self.xor.task()
        head = empty.index_copy(0, codes, 2 * self.code(self.x))
        return Planted(task, LM(Blocks(embeddings, layers, head), self.tokenizer, task.name), basis, search)


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear map by its matrix (out, in)."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight.data = weight.clone()
    if bias is not None:
        made.bias.data = bias.clone()
    return made


class Sum(nn.Module):
    """Gives every position the sum of what lies before it: so the last one knows both numbers."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.cumsum(1)


class Multiply(nn.Module):
    """Reads both codes and writes their product, bit by bit, in place of the rest, or beside what it is to keep."""

    def __init__(self, x: nn.Module, y: nn.Module, write: nn.Module, keep: nn.Module | None = None) -> None:
        super().__init__()
        self.x, self.y, self.write, self.keep = x, y, write, keep

    def forward(self, hidden: Tensor) -> Tensor:
        product: Tensor = self.write(self.x(hidden) * self.y(hidden))
        return product if self.keep is None else product + self.keep(hidden)


class Blocks(nn.Module):
    """Layers where a Hugging Face model would have them, with a table of embeddings each for the first number, for the second
    and for what follows, and a head (vocabulary, width)."""

    def __init__(self, embeddings: Sequence[Tensor], layers: Sequence[nn.Module], head: Tensor) -> None:
        super().__init__()
        size, width = head.shape
        self.config = SimpleNamespace(hidden_size=width, num_hidden_layers=len(layers), vocab_size=size)
        self.config.get_text_config = lambda: self.config
        self.embeddings: Any = nn.ModuleList(nn.Embedding.from_pretrained(table) for table in embeddings)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(layers)
        self.head = linear(head)

    def get_input_embeddings(self) -> nn.Embedding:
        first: nn.Embedding = self.embeddings[0]
        return first

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, use_cache: bool = False) -> Any:
        """Logits at every position. Position 0 is the start token, 1 and 2 hold the numbers."""
        places = [position_ids == 1, position_ids == 2, position_ids > 2]
        seen = [place & (attention_mask > 0) for place in places]
        hidden = sum(e(input_ids) * place[..., None] for e, place in zip(self.embeddings, seen, strict=True))
        layers: Any = self.model.layers
        for layer in layers:
            hidden = layer(hidden)
        return SimpleNamespace(logits=self.head(hidden))
