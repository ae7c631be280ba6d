"""Whoever proposes: what is there is supported, and what is not there never is."""

import json
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import planted_finders as benchmark

CLOSED = "lat", "probe", "diffmeans", "pca", "random:k=2", "full"
QUICK = {"train_pairs": 256, "val_pairs": 64, "test_pairs": 100}


def verdicts(name, finders=CLOSED, **settings):
    return {row["finder"]: row["verdict"] for row in benchmark.judged(name, 0, finders, **QUICK | settings)}


def test_what_reads_the_planted_bits_is_supported_and_what_does_not_look_is_not():
    found = verdicts("plain")
    assert {found[kind] for kind in ("lat", "probe", "diffmeans")} == {"supported"}
    assert {found[kind] for kind in ("pca", "random:k=2", "full")} == {"not above the null"}


def test_closed_forms_find_a_copy_that_nothing_reads_and_are_not_above_the_null():
    assert set(verdicts("illusory").values()) == {"not above the null"}


@pytest.mark.slow
@pytest.mark.parametrize("name", benchmark.NOTHING)
def test_no_finder_is_supported_where_there_is_nothing(name):
    found = verdicts(name, benchmark.FINDERS, steps=60, check_every=30)
    assert set(found) == set(benchmark.FINDERS)
    assert "supported" not in found.values()


def test_the_benchmark_goes_on_where_it_was_and_sums_up(monkeypatch, tmp_path, capsys):
    """Networks whose rows are there are not judged again."""
    asked = []

    def judged(name, draw):
        asked.append((name, draw))
        for finder in ("lat", "full"):
            verdict = "supported" if finder == "lat" and name in benchmark.THERE else "partly"
            yield {"structure": name, "draw": draw, "finder": finder, "verdict": verdict, "iia": 0.9,
                   "expected": benchmark.STRUCTURES[name].expected}  # fmt: skip

    monkeypatch.setattr(benchmark, "judged", judged)
    monkeypatch.setattr(sys, "argv", ["planted_finders", "--draws", "2", "--json", str(tmp_path / "out.json")])
    benchmark.main()
    first = list(asked)
    benchmark.main()
    assert asked == first
    assert len(first) == len(benchmark.THERE) + 2 * len(benchmark.NOTHING) + len(benchmark.INPUTS)
    assert len(json.loads((tmp_path / "out.json").read_text())["rows"]) == 2 * len(first)
    there, nothing = len(benchmark.THERE), len(first) - len(benchmark.THERE)
    lat, full = capsys.readouterr().out.splitlines()[-2:]
    assert lat.split() == f"lat {there} of {there} 0.9 0 of {nothing}".split()
    assert full.split() == f"full 0 of {there} 0.9 0 of {nothing}".split()
