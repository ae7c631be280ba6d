"""The networks that ship with das do what they say."""

import json
from pathlib import Path

import pytest

from das import LM, load_task
from das.interchange.accuracy import task_accuracy
from das.network.adapter import base_of
from das.network.named import NAMED
from das.network.source import MODELS, shipped

ROOT = Path(__file__).parent.parent
TASKS = {"price-tagger-tiny": "price_tagging", "arithmetic-tiny": "arithmetic"}
ADAPTERS = {"price-tagger-smollm2": "price_tagging"}
"""They change a network that does not ship with das."""


def test_every_shipped_network_has_a_task_and_a_config():
    assert set(shipped()) == set(TASKS | ADAPTERS)
    assert all((ROOT / "configs" / "fit" / f"{name}.yaml").exists() for name in shipped())


@pytest.mark.parametrize("name", TASKS)
def test_a_shipped_network_solves_its_task_and_every_shift(name):
    n = 400
    accuracy = task_accuracy(load_task(ROOT / "tasks" / f"{TASKS[name]}.py"), LM.load(name), n=n)
    bars = dict.fromkeys(accuracy, 0.95) | {"base": 0.98}
    for variant, bar in bars.items():
        error_of_the_sample = 2 * (bar * (1 - bar) / n) ** 0.5
        assert accuracy[variant] + error_of_the_sample >= bar, variant


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_shipped_adapter_solves_its_task(name):
    base = base_of(MODELS / name)
    if not (NAMED[base].cached or NAMED[base].file):
        pytest.skip(f"needs {base}: {NAMED[base].how}")
    task = load_task(ROOT / "tasks" / f"{ADAPTERS[name]}.py")
    assert task_accuracy(task, LM.load(name), 200, ["base"])["base"] >= 0.85


@pytest.mark.parametrize("name", TASKS | ADAPTERS)
def test_a_shipped_network_is_small_and_says_where_it_is_from(name):
    (weights,) = (MODELS / name).glob("*.safetensors")
    assert weights.stat().st_size <= 10 * 2**20
    assert json.loads((MODELS / name / "card.json").read_text())["task"] == (TASKS | ADAPTERS)[name]
    assert not list((MODELS / name).glob("*.ckpt"))
