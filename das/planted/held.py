"""Held: networks whose one site holds exactly what we say, whatever they compute from it.

The site is the last position after layer 0. It holds some functions of the inputs, each bit of a value along a random direction
of its own, beside noise; layer 1 computes the answer from these alone. Where only the inputs lie there, a swap of all that a
variable is computed from does what a swap of the variable should do, for any way to write the computation down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.causal.domains import Range
from das.causal.model import CausalModel
from das.causal.predicates import parameters
from das.interchange.subspace import random_basis
from das.network.lm import LM
from das.planted.planting import Planted, linear
from das.task.hypothesis import Hypothesis
from das.task.prompt import Prompt
from das.task.task import Task
from das.task.tokenizer import make_tokenizer

NOISES = 256

Function = Callable[..., Any]
"""Of columns of whole numbers, by parameter name."""


@dataclass(frozen=True)
class Account:
    """How a network comes to its answer: `variable`, a function of some inputs, then `answer`, a function of it and others.

    inputs: name → in how many bits its numbers are written. The functions' names are the variables'.
    """

    inputs: Mapping[str, int]
    variable: Function
    answer: Function

    @property
    def model(self) -> CausalModel:
        """With one more input, which does nothing: it makes prompts many and activations noisy."""
        numbers = {name: Range(0, 2**bits - 1) for name, bits in self.inputs.items()}
        return CausalModel(self.variable, self.answer, inputs=numbers | {"noise": Range(0, NOISES - 1)})

    @property
    def task(self) -> Task:
        fields = " ".join(f"{{{name}}}" for name in [*self.inputs, "noise"])
        name = self.variable.__name__
        return Task(Prompt(f"{fields} =", lambda value: f" {value}"), {name: Hypothesis(self.model, name)}, name=name)

    def held(self, names: Sequence[str], width: int, seed: int) -> Planted:
        """A network of this width whose site holds these of the model's variables, and from them computes the answer."""
        task, table = self.task, self._table()
        bits = {name: max(1, int(table[name].max()).bit_length()) for name in names}
        size = len(table["noise"])
        tokenizer = make_tokenizer([f"{value} =" for value in range(NOISES)], whole_numbers=True)
        basis = random_basis(width, width, torch.Generator().manual_seed(seed))
        own, rest = basis.split([sum(bits.values()), width - sum(bits.values())], dim=1)
        codes = torch.cat([_signs(table[name], bits[name]) for name in names], 1)
        answers = torch.zeros(2 ** own.shape[1], int(table[self.answer.__name__].max()) + 1)
        answers[_number(codes), torch.from_numpy(table[self.answer.__name__])] = 1
        words = torch.tensor(tokenizer.convert_tokens_to_ids([str(value) for value in range(NOISES)]))
        site = Site(words, [2**b for b in self.inputs.values()], codes[:size] @ own.T, rest, seed)
        lm = LM(Network(site, Answer(own, answers), words[: answers.shape[1]], len(tokenizer)), tokenizer, task.name)
        variable = self.variable.__name__
        columns = np.cumsum([0, *bits.values()])
        at = list(names).index(variable) if variable in names else None
        return Planted(task, lm, None if at is None else own[:, columns[at] : columns[at + 1]])

    def _table(self) -> dict[str, Any]:
        """Every variable for every setting of the inputs, the first slowest."""
        settings = np.array(list(product(*(range(2**bits) for bits in self.inputs.values()))))
        columns = dict(zip(self.inputs, settings.T, strict=True)) | {"noise": np.zeros(len(settings), int)}
        return {name: np.asarray(column).astype(int) for name, column in self.model.run(columns).items()}


def _signs(values: Any, bits: int) -> Tensor:
    """(values, bits) of ±1."""
    return torch.from_numpy(1.0 - 2.0 * ((np.asarray(values)[:, None] >> np.arange(bits)) & 1)).float()


def _number(signs: Tensor) -> Tensor:
    """The inverse of `_signs`."""
    number: Tensor = ((signs < 0).long() * 2 ** torch.arange(signs.shape[1])).sum(1)
    return number


class Site(nn.Module):
    """Layer 0, from token ids: at every position from the last input on, what the inputs' setting puts there, and noise.

    words: each number's token; sizes: of the inputs; content: (settings, width); rest: (width, n), where the noise lies.
    """

    def __init__(self, words: Tensor, sizes: Sequence[int], content: Tensor, rest: Tensor, seed: int) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.content = nn.Embedding.from_pretrained(content)
        noise = torch.randn(len(words), rest.shape[1], generator=torch.Generator().manual_seed(seed)) @ rest.T
        self.noise = nn.Embedding.from_pretrained(noise)
        value = torch.zeros(int(words.max()) + 2, dtype=torch.long)
        value[words] = torch.arange(len(words))
        self.register_buffer("value", value)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (rows, 1 + inputs + 2); the first is the start token, the last two are the noise and the equals sign."""
        values = self.get_buffer("value")[ids.clamp(max=len(self.get_buffer("value")) - 1)]
        setting = torch.zeros_like(values[:, 0])
        for i, size in enumerate(self.sizes):
            setting = setting * size + values[:, 1 + i] % size
        hidden: Tensor = self.content(setting) + self.noise(values[:, 1 + len(self.sizes)])
        return hidden[:, None].expand(-1, ids.shape[1], -1)


class Answer(nn.Module):
    """Layer 1: reads the bits of what is held, by multilinear interpolation between whole settings, and writes each answer's
    weight into a direction of its own.

    own: (width, bits); answers: (2^bits, answers), one-hot.
    """

    def __init__(self, own: Tensor, answers: Tensor) -> None:
        super().__init__()
        self.read, self.write = linear(own.T), linear(answers.T)
        self.register_buffer("settings", _signs(np.arange(len(answers)), own.shape[1]))

    def forward(self, hidden: Tensor) -> Tensor:
        bits = self.read(hidden)[..., None, :]
        weight = ((1 + self.get_buffer("settings") * bits) / 2).prod(-1)
        written: Tensor = self.write(weight)
        return nn.functional.pad(written, (0, hidden.shape[-1] - written.shape[-1]))


class Network(nn.Module):
    """The two layers where a Hugging Face model would have them."""

    def __init__(self, site: Site, answer: Answer, answers: Tensor, vocabulary: int) -> None:
        super().__init__()
        width = site.content.embedding_dim
        self.config = SimpleNamespace(hidden_size=width, num_hidden_layers=2, vocab_size=vocabulary)
        self.config.get_text_config = lambda: self.config
        self.embedding = nn.Embedding(vocabulary, 1)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList([site, answer])
        head = torch.zeros(vocabulary, width)
        head[answers, torch.arange(len(answers))] = 8
        self.head = linear(head)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, use_cache: bool = False) -> Any:
        """Logits at every position, in answer to the whole prompt; prompts have one length."""
        layers: Any = self.model.layers
        return SimpleNamespace(logits=self.head(layers[1](layers[0](input_ids))))


# --- accounts, and what lies at the site ---


def xor(a: Any, b: Any) -> Any:
    return a ^ b


def xor_of_two(a: Any, b: Any) -> Any:
    return a ^ b


def other_two(b: Any, c: Any) -> Any:
    return b ^ c


def xor_of_four(a: Any, b: Any, c: Any, d: Any) -> Any:
    return a ^ b ^ c ^ d


def equal(a: Any, b: Any) -> Any:
    return (a == b) * 1


def total(a: Any, b: Any) -> Any:
    return (a + b) % 4


def both(a: Any, b: Any) -> Any:
    return a & b


def parity(a: Any) -> Any:
    return np.bitwise_count(a) % 2


def answered(rule: Function, *parents: str) -> Function:
    """The function `answer` of these parents, which the rule takes in order."""

    def answer(*values: Any) -> Any:
        return rule(*values)

    answer.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in parents])  # type: ignore[attr-defined]
    return answer


BITS, PAIR = {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 1}

ACCOUNTS = {
    "xor": Account(BITS, xor_of_two, answered(xor, "xor_of_two", "c")),
    "xor, the other way": Account(BITS, other_two, answered(xor, "other_two", "a")),
    "xor of four": Account(BITS | {"d": 1, "e": 1}, xor_of_four, answered(xor, "xor_of_four", "e")),
    "equality": Account(PAIR, equal, answered(xor, "equal", "c")),
    "sum": Account(PAIR | {"c": 2}, total, answered(lambda x, c: (x + c) % 4, "total", "c")),
    "and": Account(BITS, both, answered(xor, "both", "c")),
    "parity of one": Account({"a": 3, "c": 1}, parity, answered(xor, "parity", "c")),
}
"""Each is supported where the site holds its variable and the input beside it, and not identifiable where only inputs lie."""


def of_inputs(name: str, seed: int, width: int = 32) -> Planted:
    """The account's claim in a network whose site holds the inputs and nothing else."""
    account = ACCOUNTS[name]
    return account.held(list(account.inputs), width, seed)


def of_variable(name: str, seed: int, width: int = 32) -> Planted:
    """The account's claim in a network whose site holds its variable, and the input that the answer needs beside it."""
    account = ACCOUNTS[name]
    return account.held(parameters(account.answer), width, seed)
