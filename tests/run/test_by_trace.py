"""A trace says where a budget is spent, in a screen's place; one of something else, or that lacks a site, is refused."""

import json

import pandas as pd
import pytest

from das import DasError, Experiment, Run
from das.ground.storage import write_json
from das.network.lm import LM
from das.progress import silent
from das.run.by_trace import Trace
from das.run.course import Course
from das.run.plan import plan, plan_of
from das.run.workers import Here
from das.use.causal_trace import causal_trace

AT = {"positions": ["amount.last", "last"], "layers": [1, 3]}
RUN = AT | {
    "hypotheses": ["left_boundary"], "subspace": "nested:k=4", "steps": 10, "check_every": 10, "chosen_seeds": 1, "closed_forms": [], "budget": 0.3,
    "train_pairs": 60, "val_pairs": 40, "test_pairs": 40, "logger": "none",
}  # fmt: skip


class Said(list):
    """A reporter that remembers what was said."""

    say = list.append
    task = staticmethod(silent.task)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a trace of the price tagger, without its pictures."""
    found = causal_trace(
        "price_tagging", "price-tagger-tiny", "left_boundary", pairs=40, **AT, kinds=["state", "mlp"], window=2
    )
    to = tmp_path_factory.mktemp("trace")
    write_json(to / "trace.json", found.plain())
    return to


def experiment(folder, **changes):
    return Experiment("price_tagging", "price-tagger-tiny", **(RUN | {"trace": str(folder)} | changes))


def begun(e, to, report=silent):
    """The cells that the budget trains, and the run's folder."""
    run = Run(to / "run")
    run.prepare(e.settings, e.made)
    return Course(e, run, Here(), report).within_budget(), run


def body_of(folder):
    return json.loads((folder / "trace.json").read_text())


def places(table):
    return list(zip(table["layer"], table["position"], strict=True))


def test_a_budget_is_spent_where_the_trace_says_and_each_site_says_why(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("das.run.work.screen", lambda *_, **__: pytest.fail("screened"))
    said = Said()
    cells, run = begun(experiment(folder), tmp_path, said)
    table = run.screened().sort_values("rank")
    traced = pd.DataFrame(body_of(folder)["cells"]).query("kind == 'state'")
    assert places(table) == places(traced.sort_values("effect", ascending=False, kind="stable"))
    trained = table[table["trained"]]
    assert places(trained)[0] == (3, "last")
    assert 0 < len(trained) < 4
    assert {(cell.site.layer, cell.site.position) for cell in cells} == set(places(trained))
    assert table["reason"].str.startswith("its state put back brings back ").all()
    (line,) = [text for text in said if "budget trains" in text]
    assert "of the clean answer's probability (" in line


def test_a_killed_run_goes_on_without_the_trace(folder, tmp_path, monkeypatch):
    cells, _ = begun(experiment(folder), tmp_path)
    monkeypatch.setattr(Trace, "read", lambda *_: pytest.fail("read again"))
    again, _ = begun(experiment(folder), tmp_path)
    assert again == cells


def test_the_trace_of_a_window_ranks_the_layers_mlp_and_says_its_window(folder):
    e = experiment(folder, components=["mlp_output"])
    e.check_trace()
    table = Trace.read(folder).table("left_boundary", e.sites)
    assert set(table["kind"]) == {"mlp"}
    assert set(table["window"]) == {2}


def test_a_plan_with_a_trace_counts_no_screen_and_refuses_what_a_run_would(folder):
    assert "screen" in plan(experiment(folder, trace=None)).flops
    assert "screen" not in plan_of(experiment(folder).settings).flops
    with pytest.raises(DasError, match="says nothing of 2 sites"):
        plan_of(experiment(folder, layers=[1, 2]).settings)


def test_a_trace_without_a_budget_is_refused(folder):
    with pytest.raises(DasError, match="there is no budget: give one"):
        experiment(folder, budget=None)


MADE = "made from something else than this run would be: "


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"hypotheses": ["left_boundary", "midpoint"]},
            "traces pairs of left_boundary.above_lower, and the run is of midpoint",
        ),
        ({"layers": [1, 2]}, r"says nothing of 2 sites of the grid: block_output\[2\] @ amount.last, block_output\[2\] @ last"),
        ({"layers": ["1+3"]}, r"block_output\[1\] @ last \+ block_output\[3\] @ last; trace them too .*, or leave them out"),
        ({"components": ["heads"]}, "says nothing of 4 sites .* and 1 more; leave them out, or let a screen rank the sites"),
        ({"components": ["attention_output"]}, "kinds: attention"),
        ({"under": "true_false"}, f"{MADE}the prompt's words; the answers' words"),
        ({"trace": "nowhere"}, "trace: 'nowhere' holds no trace.json: give the folder of a finished"),
    ],
)
def test_a_trace_that_does_not_fit_is_refused_before_weights_are_loaded(changes, says, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(LM, "load", lambda *_: pytest.fail("loaded weights"))
    with pytest.raises(DasError, match=says):
        experiment(folder, **changes).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def other_weights(body):
    body["made_from"]["weights"] = dict.fromkeys(body["made_from"]["weights"], "1 other")


def other_network(body):
    body["made_from"]["weights"], body["lm"] = {"other.gguf": "1 other"}, "another"


def by_an_older_version(body):
    del body["made_from"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other_weights, f"{MADE}the network's weights \\(.*\\)"),
        (other_network, f"is a trace of price_tagging in another, {MADE}the network"),
        (by_an_older_version, "does not say what it was made from: trace again"),
    ],
)
def test_a_trace_of_another_network_or_of_unknown_origin_is_refused(change, says, folder, tmp_path):
    body = body_of(folder)
    change(body)
    write_json(tmp_path / "trace.json", body)
    with pytest.raises(DasError, match=says):
        experiment(tmp_path).check_trace()


def test_a_trace_by_noise_is_of_no_hypothesis(tmp_path):
    noise = {"corrupt": "noise", "field": "amount", "pairs": 12, "kinds": ["state"]}
    found = causal_trace("price_tagging", "price-tagger-tiny", "left_boundary", **noise, **AT)
    write_json(tmp_path / "trace.json", found.plain())
    experiment(tmp_path, hypotheses=["midpoint"]).check_trace()
