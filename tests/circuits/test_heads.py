"""Heads: what all parts write sums to the logits; a head that is built to attend and to copy is named so."""

import induction
import numpy as np
import pandas as pd
import pytest
import torch
from test_circuits import NETWORKS, network

from das import DasError, trajectory
from das.circuits.attention import attending
from das.circuits.heads import Looked, looked, repeating
from das.circuits.regions import CONTEXT, REGIONS, regions
from das.circuits.roles import head_table, roles
from das.network.taps import recording
from das.stats import Bootstrap
from das.task.encoded import Encoded
from das.task.texts import Texts

KNOWN = [kind for kind in NETWORKS if kind != "gemma2"]


def prompts(n=5):
    rng = np.random.default_rng(0)
    lengths = np.array([9, 7, 8, 9, 7])[:n]
    ids = rng.integers(3, 40, (n, 9))
    at = np.where(np.arange(9) >= (9 - lengths)[:, None], rng.integers(2, 5, (n, 9)), -1)
    return Encoded(ids, lengths), at, rng.integers(3, 20, n), rng.integers(20, 40, n)


@pytest.mark.parametrize("kind", KNOWN)
def test_what_all_parts_write_is_the_logit_difference(kind):
    lm = network(kind)
    some, at, answer, other = prompts()
    found = looked(lm, some, at, answer, other)
    assert found.looks.sum(3) == pytest.approx(1, abs=1e-5)  # every token lies in one region
    logits = lm.logits(some)
    rows = np.arange(len(some))
    assert found.difference == pytest.approx((logits[rows, answer] - logits[rows, other]).numpy(), rel=1e-4, abs=1e-4)
    assert found.writes.sum((1, 2)) + rest(lm, some, answer, other) == pytest.approx(found.difference, rel=1e-3, abs=1e-3)


def rest(lm, some, answer, other):
    """What everything but the heads adds to the logit difference: the last state less what heads add, through norm and head."""
    every = range(lm.layers)
    taps = {("mixed", i): lm.tap("heads", i) for i in every} | {"last": lm.tap("block_output", lm.layers - 1)}
    out = []
    for row in range(len(some)):
        one = some.take([row])
        ids = one.ids[:, one.width - one.lengths[0] :]
        into = {}
        with torch.no_grad(), recording(taps, 1, 1, into):
            lm.logits(Encoded(ids, one.lengths))
        state = into["last"][0, 0]
        by_heads = sum(_projected(lm, i, into["mixed", i][0, 0]) for i in every)
        norm, head = _norm_of(lm.model), lm.model.get_output_embeddings().weight
        step = head[answer[row]] - head[other[row]]
        whole = (norm(state[None])[0] * step).sum()
        centred = isinstance(norm, torch.nn.LayerNorm)
        middle = (lambda v: v - v.mean()) if centred else (lambda v: v)
        share = (norm.weight * middle(by_heads) / middle(state).square().mean().sqrt() * step).sum()
        out.append(float(whole - share))
    return np.array(out)


def _projected(lm, layer, mixed):
    module = lm.tap("heads", layer).module
    weight = module.weight if isinstance(module, torch.nn.Linear) else module.weight.T
    return weight @ mixed


def _norm_of(model):
    base = getattr(model, model.base_model_prefix)
    return next(getattr(base, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(base, name))


@pytest.mark.parametrize("kind", ["grouped", "gpt2", "neox"])
def test_a_network_that_tells_its_attention_answers_as_before(kind):
    lm, seen = network(kind), []
    some = prompts()[0].take([0, 3])  # equally long
    before = lm.logits(some)
    own = lm.model.config._attn_implementation
    with attending(lm, lambda layer, weights: seen.append((layer, weights))):
        said = lm.logits(some)
    assert torch.allclose(said, before, atol=1e-4)
    assert lm.model.config._attn_implementation == own
    assert {layer for layer, _ in seen} == set(range(lm.layers))
    assert all(weights.triu(1).abs().max() == 0 for _, weights in seen)


def test_the_induction_network_has_its_two_heads():
    before, induced = repeating(induction.network(sharpness=40))
    assert np.argwhere(before > 0.9).tolist() == [[0, 0]]
    assert np.argwhere(induced > 0.7).tolist() == [[1, 0]]  # not 1: nothing stands before the first token


# --- the written rule ---

SILENT = dict.fromkeys((*REGIONS, "subject_even", "relation_even", "previous", "induction"), 0.0)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, []),
        ({"previous": 0.5}, ["previous token"]),
        ({"induction": 0.5, "subject": 0.4}, ["induction", "mover"]),
        ({"subject": 0.4, "writes_low": -0.1}, []),
        ({"subject": 0.4, "writes": 0.01}, []),
        ({"subject": 0.4, "writes": -1.0, "writes_low": -2.0, "writes_high": -0.5}, ["negative mover"]),
        ({"relation": 0.4}, ["relation"]),
        ({"relation": 0.4, "subject": 0.4}, ["mixture"]),
        ({"relation": 0.9, "relation_even": 0.7}, []),
        ({"context": 0.9}, []),
    ],
)
def test_a_role_is_what_the_rule_says(row, expected):
    known = SILENT | {"writes": 1.0, "writes_low": 0.5, "writes_high": 1.5, "difference": 4.0}
    assert list(roles(known | row)) == expected


def test_where_nobody_knows_what_heads_write_none_is_a_mover():
    looks = np.zeros((3, 1, 1, len(REGIONS)))
    looks[..., REGIONS.index("subject")] = 1
    nothing = np.zeros((1, 1))
    table = head_table(Looked(looks, 0 * looks[:, 0, 0], None, np.ones(3), "why"), nothing, nothing, Bootstrap(np.arange(3)))
    assert table["role"].item() == ""
    assert np.isnan(table["writes"].item())


class Letters:
    """A token a letter."""

    def __call__(self, texts, return_offsets_mapping):
        return {"offset_mapping": [[(i, i + 1) for i in range(len(text))] for text in texts]}


def test_every_token_lies_in_the_region_of_its_field():
    texts = Texts(["QA. ab-c:", "b-cc:"], {"one": np.array([[4, 6], [0, 1]]), "two": np.array([[7, 8], [2, 4]])})
    at = regions(texts, ["ab-c:", "b-cc:"], {"one": 2, "two": CONTEXT}, Letters())
    assert at[0].tolist() == [0, 4, 4, 4, 2, 2, 3, 4, 1]
    assert at[1].tolist() == [-1, -1, -1, -1, 0, 3, 4, 4, 1]


# --- the shipped price tagger ---


def test_the_head_that_moves_the_amount_is_found_and_written(tmp_path):
    way = trajectory("price_tagging", "price-tagger-tiny", pairs=64, layers=[5], positions=["last"])
    movers = way.heads.of("mover")
    assert (movers.iloc[0]["layer"], movers.iloc[0]["head"]) == (3, 0)
    assert movers.iloc[0]["subject"] > 0.9
    assert way.heads.fields["subject"] == ["lower", "amount"]
    names = {path.name for path in way.write(tmp_path)}
    assert {"heads.json", "heads.csv", "heads.png"} < names
    assert len(pd.read_csv(tmp_path / "heads.csv")) == 24


def test_a_network_without_attention_weights_has_a_trajectory_and_no_roles(monkeypatch):
    monkeypatch.setattr("das.circuits.heads.attending", lambda lm, read: torch.no_grad())
    way = trajectory("price_tagging", "price-tagger-tiny", pairs=20, layers=[5], positions=["last"])
    assert way.heads is None
    assert "gives no weights" in way.text()


def test_only_known_choices_are_answered():
    with pytest.raises(DasError, match="right, wrong, all"):
        trajectory("price_tagging", "price-tagger-tiny", answered="often")
    with pytest.raises(DasError, match="none of"):
        trajectory("price_tagging", "price-tagger-tiny", answered="wrong", pairs=4)
