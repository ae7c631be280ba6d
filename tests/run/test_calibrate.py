"""A calibration measures with the engine itself, is kept, and is used by later plans."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from das import Experiment
from das.cli import main
from das.run import prices
from das.run.amounts import UNITS
from das.run.calibrate import _prices, calibrate
from das.run.plan import plan
from das.run.probes import Probe

SMALL = {
    "layers": [5],
    "positions": ["last"],
    "hypotheses": ["left_boundary"],
    "subspace": "nested:k=4",
    "batch": 4,
    "threads": 1,
}


def experiment(**changes):
    return Experiment("price_tagging", "price-tagger-tiny", **SMALL | changes)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A folder in which a calibration is kept."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAS_CACHE", str(folder))
        calibrate(experiment())
    return folder


@pytest.fixture
def kept(calibrated, monkeypatch):
    monkeypatch.setenv("DAS_CACHE", str(calibrated))


def test_a_calibration_is_kept_and_later_plans_use_it(kept):
    found = plan(experiment())
    assert found.calibrated
    assert f"on this machine, calibrated on {found.calibrated}" in found.text()
    assert "rough figures" not in found.text()


def test_a_calibration_prices_every_unit(kept):
    found = prices.read(experiment())
    assert set(found.seconds) == set(UNITS)
    assert all(0 <= seconds < 60 for seconds in found.seconds.values())
    assert found.seconds["captured"] > 0
    assert found.seconds["loads"] > 0


def test_it_holds_for_other_settings_but_for_no_other_network_threads_or_numbers(kept):
    assert plan(experiment(steps=7, positions=["last-6"])).calibrated
    assert not plan(experiment(threads=2)).calibrated
    assert not plan(experiment(dtype="bfloat16")).calibrated
    assert not plan(
        Experiment("arithmetic", "arithmetic-tiny", **SMALL | {"layers": "all", "hypotheses": None, "positions": None})
    ).calibrated


def test_a_damaged_calibration_is_none(kept, tmp_path, monkeypatch):
    there = prices.path(experiment())
    monkeypatch.setenv("DAS_CACHE", str(tmp_path))
    for text in ("{", json.dumps({"seconds": {}}), json.dumps(json.loads(there.read_text()) | {"made_for": {}})):
        path = prices.path(experiment())
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        assert not plan(experiment()).calibrated


def test_prices_are_those_that_the_probes_were_made_with():
    rng, true = np.random.default_rng(0), {"captured": 3e-11, "captured layers": 1e-3}
    amounts = [dict(zip(true, row, strict=True)) for row in rng.uniform(1, 2, (6, 2)) * [1e9, 10]]
    probes = [Probe("", some, sum(true[unit] * amount for unit, amount in some.items())) for some in amounts]
    found = _prices([*probes, Probe("", {"loads": 2}, 3.0)])
    assert found == pytest.approx(true | {"loads": 1.5})


def test_caches_lie_where_the_system_keeps_them(monkeypatch, tmp_path):
    monkeypatch.delenv("DAS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(prices, "sys", SimpleNamespace(platform="linux"))
    assert prices.folder() == tmp_path / "das"


@pytest.mark.slow
def test_the_command_calibrates_and_plans(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DAS_CACHE", str(tmp_path))
    command = ["plan", "price_tagging", "--lm", "price-tagger-tiny", "--layers", "[5]", "--positions", "[last]", "--batch", "4"]
    assert main([*command, "--calibrate"]) == 0
    assert "calibrated on" in capsys.readouterr().out
