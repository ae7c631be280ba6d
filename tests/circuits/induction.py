"""An induction network that is built by hand: two layers of two heads, of whose 29 edges 5 carry the answer."""

import numpy as np
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from das import LM
from das.circuits.contrasts import Contrasts
from das.task.encoded import Encoded

WORDS, PLACES, WIDTH, SIZE = 12, 7, 48, 24
TOKEN, PLACE, BEFORE, OUT = (torch.arange(a, b) for a, b in ((0, 12), (12, 19), (19, 31), (31, 43)))
"""Parts of a hidden state: its token, its place, the token before it, and what is said."""

TRUE = [
    ("embedding", "value 0.0"), ("head 0.0", "key 1.0"), ("embedding", "query 1.0"), ("embedding", "value 1.0"),
    ("head 1.0", "logits"),
]  # fmt: skip
"""The head of layer 0 copies the token before; that of layer 1 looks for where the last token stood before, and says what
followed."""


def network(sharpness, noise=0.05):
    """Head 0.0 and head 1.0 do the task; the other two read and write a little at random. sharpness: by how much more a head's
    score is where it is to look."""
    sizes = {"vocab_size": WORDS, "n_positions": PLACES, "n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_inner": 4}
    model = GPT2LMHeadModel(GPT2Config(**sizes, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0)).eval()
    for p in model.parameters():
        p.data.zero_()
    t, words, places = model.transformer, torch.eye(WORDS), torch.eye(PLACES)
    t.wte.weight.data[:, TOKEN], t.wpe.weight.data[:, PLACE], model.lm_head.weight.data[:, OUT] = words, places, words
    t.ln_f = nn.Identity()
    sharp = sharpness * SIZE**0.5
    _head(t.h[0], (PLACE[1:], sharp * places[:-1]), (PLACE, places), (TOKEN, words), (BEFORE, words))
    _head(t.h[1], (TOKEN, sharp * words), (BEFORE, words), (TOKEN, words), (OUT, 8 * words))
    generator = torch.Generator().manual_seed(0)
    for block in t.h:
        block.ln_1, block.ln_2 = nn.Identity(), nn.Identity()
        for weight, rows in ((block.attn.c_attn.weight, slice(None)), (block.attn.c_proj.weight, slice(SIZE, None))):
            part = torch.randn(weight[rows].shape, generator=generator) * noise**0.5
            own = (torch.arange(weight.shape[1]) // SIZE % 2 == 1) if rows == slice(None) else slice(None)
            weight.data[rows, own] = part[:, own]
    return LM(model, None, "induction")


def _head(block, query, key, value, out):
    """The first head of a block. query, key, value: the entries that are read and what is made of each; out: the entries that are
    written, and what of."""
    for i, (entries, made) in enumerate((query, key, value)):
        block.attn.c_attn.weight.data[entries, i * WIDTH : i * WIDTH + made.shape[1]] = made
    entries, made = out
    block.attn.c_proj.weight.data[: len(made), entries] = made


def pairs(n, seed=0):
    """`n` pairs of prompts a b c d e f x, with x one of b to e, and what follows it there as the answer."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < 2 * n:
        row = rng.permutation(WORDS)[: PLACES - 1]
        at = rng.integers(1, PLACES - 2)
        one = [*row, row[at], row[at + 1]]
        if len(found) % 2 == 0 or found[-1][-1] != one[-1]:
            found.append(one)
    rows = np.array(found).reshape(n, 2, PLACES + 1)
    both = [Encoded(rows[:, i, :-1], np.full(n, PLACES), {"last": np.full((n, 1), PLACES - 1)}) for i in (0, 1)]
    return Contrasts(*both, rows[:, 0, -1], rows[:, 1, -1], n)


def without_mlps(streams):
    """Which edges neither come from an MLP nor lead into one: 29."""
    graph = streams.graph
    ends, nodes = (np.array(["MLP" not in name for name in names]) for names in (graph.ends, graph.nodes))
    return graph.all & ends[:, None] & nodes


def true(streams):
    """The edges that carry the answer."""
    graph, found = streams.graph, np.zeros(streams.graph.all.shape, bool)
    for node, end in TRUE:
        found[graph.ends.index(end), graph.nodes.index(node)] = True
    return found
