"""A run of the sampler's own pairs, written out and brought again in any form, is the same run."""

import pandas as pd
import pytest

from das import Experiment
from das.task.files import load_task

SETTINGS = {
    "layers": [1], "positions": ["b.last", "last"], "hypotheses": ["sum"], "steps": 4, "batch": 20, "check_every": 2, "chosen_seeds": 1,
    "logger": "none", "train_pairs": 40, "val_pairs": 20, "test_pairs": 30, "threads": 1, "subspace": "fixed:k=4",
}  # fmt: skip
SCORES = ["cell", "test_iia", "test_flip_iia", "test_noop", "test_whole", "test_random", "val_iia", "rank"]


def in_all_forms(rows, folder):
    """The table as a CSV, a JSONL and a Parquet file, and as a data set that `datasets` saved."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows.to_csv(folder / "a.csv", index=False)
    rows.to_json(folder / "a.jsonl", orient="records", lines=True, double_precision=15)
    rows.to_parquet(folder / "a.parquet")
    datasets.Dataset.from_pandas(rows, preserve_index=False).save_to_disk(str(folder / "a"))
    return [str(folder / name) for name in ("a.csv", "a.jsonl", "a.parquet", "a")]


def test_the_samplers_pairs_brought_from_a_file_of_any_form_give_the_same_run(tmp_path):
    experiment = Experiment("arithmetic", "arithmetic-tiny", **SETTINGS)
    run = experiment.run(tmp_path / "drawn")
    paths = in_all_forms(experiment.pairs(), tmp_path)
    assert len({load_task("arithmetic", pairs=path).pairs["sum"].print for path in paths}) == 1
    again = Experiment("arithmetic", "arithmetic-tiny", pairs=paths[0], **SETTINGS).run(tmp_path / "brought")
    pd.testing.assert_frame_equal(again.table()[SCORES], run.table()[SCORES])
    for cell in run.found()["cell"]:
        files = [each.folder / "cells" / cell / "hits.safetensors" for each in (run, again)]
        assert files[0].read_bytes() == files[1].read_bytes()
