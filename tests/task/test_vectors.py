"""Vectors, cells and real numbers: each way to put such a task works, or is refused with a word on what to do."""

import numpy as np
import pytest
from torch import nn

from das import LM, CausalModel, Choice, DasError, Experiment, Hypothesis, Net, Prompt, Range, Sampler, Task, Tensors, Uniform
from das.task.tokenizer import make_tokenizer

ANSWERS = {True: " yes", False: " no"}
LETTERS = list("uvwxyz")


def left(a, b):
    return (a == b).all(1)


def out(left):
    return ~left


def half(x):
    return x / 2


def whole(half):
    return half * 2


def equal(p, q):
    return p == q


def said(equal):
    return equal


VECTORS = CausalModel(left, out, inputs=dict.fromkeys("ab", Sampler(lambda rng, n: rng.uniform(-1, 1, (n, 4)))))


def test_vectors_are_written_in_words_or_given_as_tensors_and_each_network_takes_its_own():
    words = Task(Prompt("{a} {b}", ANSWERS), {"left": Hypothesis(VECTORS, "left")})
    row = VECTORS.sample(np.random.default_rng(0), 1)
    assert words.render(row).names[0].startswith(str(row["a"][0].tolist())[:8])
    mlp = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(DasError, match=r"no tokenizer, .* as das\.Tensors and the network in a das\.Net"):
        Experiment(words, LM(mlp, None), positions=["last"])
    form = Tensors(lambda a, b: np.concatenate([a, b], 1), {True: 1, False: 0})
    task = Task(form, {"left": Hypothesis(VECTORS, "left")})
    assert len(Experiment(task, Net(mlp), layers=[1], subspace="fixed:k=2").grid()) == 1


class Gru(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.embedding, self.cell, self.out = nn.Embedding(size, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, size)

    def forward(self, ids):
        return self.out(self.cell(self.embedding(ids))[0])


def test_a_module_on_token_ids_is_swapped_in_its_cell_and_says_its_modules_where_it_has_no_layers():
    tokenizer = make_tokenizer([" ".join(LETTERS) + " yes no ?"])
    model = CausalModel(equal, said, inputs=dict.fromkeys("pq", Choice(LETTERS)))
    task = Task(Prompt("{p} {q} ?", ANSWERS), {"equal": Hypothesis(model, "equal")}, positions=("q", "last"))
    sizes = {"layers": [0], "subspace": "fixed:k=2", "train_pairs": 12, "val_pairs": 4, "test_pairs": 4}
    assert len(Experiment(task, LM(Gru(len(tokenizer)), tokenizer), components="cell", **sizes).grid()) == 2
    with pytest.raises(DasError, match=r"such as 'embedding'. It has embedding, cell, out$"):
        LM(Gru(len(tokenizer)), tokenizer).tap("block_output", 0)


def real(domain):
    model = CausalModel(half, whole, inputs={"x": domain})
    return Task(Prompt("{x:.2f} =", lambda value: f" {value:.2f}"), {"half": Hypothesis(model, "half")})


def test_a_real_input_that_words_round_is_refused_with_the_values_that_they_do_not_round():
    tokenizer = make_tokenizer([" ".join("0123456789") + " . = "])
    with pytest.raises(DasError, match=r"written for two settings.*as Range\(0, 9, 0\.01\) gives"):
        real(Uniform(0, 9)).check(tokenizer)
    real(Range(0, 9, 0.01)).check(tokenizer)
