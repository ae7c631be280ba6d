"""An image classifier goes through a whole run: the colour is found where it was planted, and in no random network."""

from conftest import ROOT

from das import Experiment

QUICK = {
    "layers": [2], "hypotheses": ["colour"], "subspace": "nested:k=4", "steps": 60, "batch": 32, "check_every": 30, "nulls": 2,
    "train_pairs": 96, "val_pairs": 48, "test_pairs": 60, "chosen_seeds": 1, "logger": "none",
}  # fmt: skip


def test_a_run_finds_the_colour_in_an_image_classifier_and_in_no_random_one(tmp_path):
    file = ROOT / "tasks" / "shapes.py"
    run = Experiment(file, file, **QUICK).run(tmp_path / "run")
    row = run.table().iloc[0]
    assert row["test_lm_base"] == 1
    assert row["test_iia"] >= 0.95
    assert row["rank"] == 2  # two differences of three colours
    assert max(row["test_noop"], row["test_random"], row["test_whole"]) < 0.7
    assert run.summary["hypotheses"]["colour"]["verdict"]["verdict"] == "supported"
    nulls = run.nulls()
    assert nulls[nulls["null"] == "untrained"]["iia"].max() < 0.5
