"""`das.fit` and runs of a user's own pairs: no causal model, no template, the same figures as an independent count."""

import json

import numpy as np
import pytest
import torch
import transformers

import das
from das import LM, Alignment, DasError, Experiment, Site
from das.draw.outcome import outcome
from das.task.tokenizer import make_tokenizer

WORDS = [f"w{chr(97 + i)}" for i in range(16)]
QUICK = {"layers": [1], "subspace": "fixed:k=4", "steps": 2, "check_every": 1, "chosen_seeds": 1, "logger": "none"}


@pytest.fixture(scope="module")
def lm():
    tokenizer = make_tokenizer([" ".join(WORDS) + " then"])
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=32, pad_token_id=0, bos_token_id=2, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    for p in model.parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=0.5)
    model.lm_head.weight.data[:3] = 0  # it says words alone
    return LM(model, tokenizer)


def said(lm, text):
    """The network's own answer, by a forward of its own."""
    ids = torch.tensor([lm.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return " " + lm.tokenizer.decode(lm.model(ids).logits[0, -1].argmax())


@pytest.fixture(scope="module")
def rows(lm):
    """Texts of one to three words; the label is what the network says to the source."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, n)) + " then" for n in (1, 2, 3) * 12]
    own = {text: said(lm, text) for text in texts}
    pairs = list(zip(texts, np.roll(texts, 7).tolist(), strict=True))
    return [{"base": a, "source": b, "label": own[b], "base_label": own[a], "source_label": own[b]} for a, b in pairs]


def test_a_whole_swap_at_the_end_gives_the_source_answer(lm, rows):
    found = das.fit(lm, (1, "last"), rows, "full", test_pairs=2000)
    assert set(found.scores) == {"train", "val", "test"}
    for scores in found.scores.values():
        assert scores["iia"] == scores["whole"] == scores["ceiling"] == 1
    pairs = found.scores["test"]
    flips = np.mean([r["label"] != r["base_label"] for r in rows])
    assert 0 < flips < 1
    assert pairs["noop"] < 1


def test_the_swap_without_a_swap_is_the_share_of_labels_that_stay(lm, rows):
    """Of all pairs together, whatever split they are in, by the split's own sizes."""
    found = das.fit(lm, (0, "last"), [{k: r[k] for k in ("base", "source", "label")} for r in rows], "random:k=2")
    task = das.own_task(rows)
    layout = Experiment(task, lm, **QUICK)
    for split, table in layout.pairs().groupby("split"):
        stay = np.mean([label == said(lm, base) for base, label in zip(table["base"], table["label"], strict=True)])
        assert found.scores[split]["noop"] == pytest.approx(stay)
        assert np.isnan(found.scores[split]["ceiling"])
        assert "flip_iia" not in found.scores[split]


def test_a_fitted_alignment_is_saved_and_loaded_with_its_scores(lm, rows, tmp_path):
    found = das.fit(lm, Site(0, "first+1"), rows, steps=2, check_every=1)
    assert found.rank <= 16
    found.save(tmp_path / "there")
    again = Alignment.load(tmp_path / "there")
    assert again.scores == json.loads(json.dumps(found.scores))
    assert again.cell == found.cell
    assert torch.equal(again.feature.basis, found.feature.basis)


def test_the_same_pairs_and_seed_give_the_same_alignment(lm, rows):
    one, two = (das.fit(lm, (0, "last"), rows, "fixed:k=2", steps=2, check_every=1) for _ in range(2))
    assert torch.equal(one.feature.basis, two.feature.basis)
    assert one.scores == two.scores


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"site": 3}, "expected a das.Site"),
        ({"site": (9, "last")}, "layer 9 does not exist"),
        ({"site": (0, "who")}, "unknown field in position 'who'"),
        ({"subspace": "means"}, "takes a causal model"),
        ({"subspace": "fixed:k=17"}, "needs 17 columns"),
        ({"budget": 0.5, "answers": False}, "a budget goes by how the prompts are answered"),
        ({"only_correct": True, "answers": False}, "only_correct goes by"),
        ({"stepps": 3}, "did you mean 'steps'"),
    ],
)
def test_what_cannot_be_fitted_is_one_error(lm, rows, given, said):
    bare = [{k: r[k] for k in ("base", "source", "label")} for r in rows] if not given.pop("answers", True) else rows
    with pytest.raises(DasError, match=said):
        das.fit(lm, **{"site": (0, "last"), "pairs": bare, **given})


@pytest.mark.parametrize("answers", [True, False])
def test_a_run_without_a_causal_model_says_what_was_not_asked(lm, rows, tmp_path, answers):
    known = rows if answers else [{k: r[k] for k in ("base", "source", "label")} for r in rows]
    told = []
    experiment = Experiment(das.own_task(known), lm, **QUICK, train_pairs=10, val_pairs=10, test_pairs=40)
    run = experiment.run(
        tmp_path / "run", after=[lambda run, stage: told.append(run.summary["hypotheses"]["pairs"]["verdict"])]
    )
    assert ("ceiling –" in told[0]["sentence"]) is not answers
    entry = run.summary["hypotheses"]["pairs"]
    assert "Not asked" in entry["verdict"]["sentence"]
    assert "no causal model" in entry["verdict"]["sentence"]
    assert ("no base_label" in entry["verdict"]["sentence"]) is not answers
    assert (entry["baselines"]["ceiling"] is None) is not answers
    card = entry["scorecard"]
    assert card["natural"] is None
    assert card["decoding"] == card["isolate"] == card["upstream"] == {}
    assert (card["clean"] is None) is not answers
    assert "pairs.swapped" in outcome(run.summary)
    assert run.heatmap("pairs") is not None


def test_an_edited_file_of_pairs_is_noticed(lm, rows, tmp_path):
    file = tmp_path / "facts.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    task = lambda: das.load_task(file)  # noqa: E731
    from das.run.provenance import changes, provenance

    before = provenance(task(), lm.tokenizer, lm)
    assert changes(before, provenance(task(), lm.tokenizer, lm)) == []
    file.write_text(
        "\n".join(
            map(
                json.dumps,
                [
                    {**rows[0], "source": rows[3]["source"], "label": " then", "source_label": rows[3]["source_label"]},
                    *rows[1:],
                ],
            )
        )
    )
    assert changes(before, provenance(task(), lm.tokenizer, lm)) == ["the pairs that were brought (their file was edited)"]
