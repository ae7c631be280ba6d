"""Inside an alignment: what was planted is traced to where it lies, and a run's look says what its tables and network say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL
from transformers import LlamaConfig, LlamaForCausalLM

from das import DasError, Experiment, Run
from das.cli import main
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.planted.structures import BITS, STRUCTURES, WIDTH
from das.use.angles import overlaps
from das.use.look import look_inside


def found(made, columns, position="last", layer=0):
    """An alignment of a planted task's one hypothesis with these columns (d, rank)."""
    (name,) = made.task.hypotheses
    subspace = Subspace(columns[:, None], torch.ones(1, columns.shape[1]))
    return Alignment(Cell(name, Site(layer, position), Fixed(columns.shape[1])), subspace)


# --- planted ---


@pytest.mark.parametrize("seed", [0, 1])
def test_a_code_in_neurons_is_traced_to_those_neurons_whatever_its_basis(seed):
    made = STRUCTURES["permuted"].make(seed)
    turned = made.basis @ random_basis(BITS, BITS, torch.Generator().manual_seed(seed))
    inside = look_inside(found(made, turned), made.lm, made.task, 64)
    neurons = {f"dimension {i}" for i in made.basis.abs().sum(1).topk(BITS).indices.tolist()}
    assert set(inside.trace.entries["entry"].head(BITS)) == neurons
    over, held = inside.trace.spread.to_dict("records")
    assert over["found"] == pytest.approx(BITS, abs=1e-3)
    assert over["found"] < over["low"]
    assert held["found"] == pytest.approx(1, abs=1e-4)
    assert held["found"] > held["high"]


def test_a_code_in_random_directions_is_spread_as_random_subspaces_are():
    made = STRUCTURES["plain"].make(0)
    over, held = look_inside(found(made, made.basis), made.lm, made.task, 64).trace.spread.to_dict("records")
    assert over["low"] <= over["found"] <= over["high"]
    assert held["low"] <= held["found"] <= held["high"]


def test_coordinates_are_the_planted_bits_and_lie_apart_by_value():
    made = STRUCTURES["plain"].make(0)
    inside = look_inside(found(made, made.basis), made.lm, made.task, 200)
    bits = inside.projections.groupby("value")[["c1", "c2"]].mean().round(3)
    assert set(map(tuple, bits.to_numpy())) == {(a, b) for a in (-1, 1) for b in (-1, 1)}
    assert (inside.explained["share"] > 0.99).all()
    other = look_inside(found(made, random_basis(WIDTH, 1, torch.Generator().manual_seed(5))), made.lm, made.task, 200)
    assert (other.explained["share"] < 0.9).all()


def test_a_planted_direction_promotes_the_tokens_that_the_head_says():
    made = STRUCTURES["plain"].make(0)
    inside = look_inside(found(made, made.basis), made.lm, made.task, 64)
    logits = made.lm.model.head.weight @ made.basis[:, 0]
    up = inside.tokens[(inside.tokens["column"] == 1) & (inside.tokens["end"] == "+")]
    assert up["logit"].tolist() == pytest.approx((logits - logits.mean()).topk(10).values.tolist(), abs=1e-5)
    digits = set(up["token"].head(2))
    assert digits == {str(n) for n in range(4) if logits[made.lm.tokenizer.convert_tokens_to_ids(str(n))] > 0}


def test_a_site_of_several_tokens_is_traced_to_each():
    made = STRUCTURES["split, both sites"].make(0)
    inside = look_inside(found(made, made.basis, "noise"), made.lm, made.task, 64)
    units = inside.trace.units.set_index("unit")["share"]
    assert units["token 1 of 3"] == pytest.approx(0.5, abs=1e-4)
    assert units["token 2 of 3"] == pytest.approx(0, abs=1e-6)
    assert units["token 3 of 3"] == pytest.approx(0.5, abs=1e-4)
    assert set(inside.tokens["place"]) == {", token 1", ", token 2", ", token 3"}


def test_the_whole_vector_has_no_directions_and_says_so():
    made = STRUCTURES["plain"].make(0)
    inside = look_inside(replace(found(made, made.basis), feature=Whole(1)), made.lm, made.task, 64)
    assert "no subspace with columns" in inside.text()
    assert inside.figures() == {}
    assert inside.plain()["entries"] == []


def test_an_alignment_of_another_width_is_refused():
    made = STRUCTURES["plain"].make(0)
    with pytest.raises(DasError, match="is not of vectors of 24 entries"):
        look_inside(found(made, random_basis(WIDTH + 1, 2, torch.Generator())), made.lm, made.task, 16)


# --- heads ---


def test_a_subspace_of_one_heads_output_is_traced_to_that_head(price_tagging, tokenizer):
    torch.manual_seed(0)
    options = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    lm = LM(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **options)), tokenizer)
    columns = torch.zeros(32, 2)
    columns[16:24] = random_basis(8, 2, torch.Generator().manual_seed(0))
    cell = Cell("left_boundary", Site(1, "last", "heads"), Fixed(2))
    inside = look_inside(Alignment(cell, Subspace(columns[:, None], torch.ones(1, 2))), lm, price_tagging, 20)
    assert inside.trace.units.iloc[0].to_dict() == {"variable": "above_lower", "unit": "head 2", "share": pytest.approx(1)}
    (over,) = inside.trace.spread[inside.trace.spread["figure"].str.startswith("units")].to_dict("records")
    assert over["found"] == pytest.approx(1, abs=1e-4)
    assert over["found"] < over["low"]
    moved = lm.blocks[1].self_attn.o_proj.weight @ columns
    logits = lm.model.lm_head.weight @ (lm.model.model.norm.weight[:, None] * moved)
    up = inside.tokens[(inside.tokens["column"] == 1) & (inside.tokens["end"] == "+")]
    assert up["id"].tolist() == logits[:, 0].topk(10).indices.tolist()


# --- angles ---


def test_alignments_of_different_spaces_are_not_compared():
    made = STRUCTURES["plain"].make(0)
    one = found(made, made.basis)
    other = replace(one, cell=replace(one.cell, site=Site(0, "last", "heads")))
    with pytest.raises(DasError, match="lie in different spaces"):
        overlaps([one, other])
    with pytest.raises(DasError, match="no subspace with columns"):
        overlaps([one, replace(one, feature=Whole(1))])


# --- a run ---


@pytest.fixture(scope="module")
def made():
    return STRUCTURES["plain"].make(0)


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("look") / "run"
    return Experiment(made.task, made.lm, layers=[0, 1], positions=["last"], subspace="fixed:k=2", **SMALL).run(folder)


def test_a_run_looks_at_its_chosen_cell_by_the_hypothesis_and_beside_its_like(run, made):
    inside = run.look("code", 50, made.task, made.lm)
    assert (
        inside.alignment.cell
        == run.alignment(run.look(inside.alignment.cell.id, 50, made.task, made.lm).alignment.cell.id).cell
    )
    assert len(inside.projections) == 50
    names = list(dict.fromkeys(inside.angles["cell"]))
    assert names[0] == inside.alignment.cell.id
    assert len(names) == 3  # its other seed, and the other layer
    of_itself = inside.angles[inside.angles["cell"] == inside.angles["other_cell"]]
    assert of_itself["largest_angle"].max() < 1e-3
    assert json.loads(json.dumps(inside.plain(), default=str))["rank"] == 2
    assert run.angles([names[0], names[1]])["overlap"].tolist()[1] == inside.angles["overlap"].tolist()[1]


def test_what_is_written_is_what_was_found(run, made, tmp_path):
    inside = run.look("code", 50, made.task, made.lm)
    paths = inside.write(tmp_path / "look")
    assert [path.name for path in paths] == ["inside.json", "projections.png", "trace.png", "angles.png"]
    assert all(path.stat().st_size > 1000 for path in paths)
    kept = json.loads(paths[0].read_text())
    assert kept["spread"][0]["found"] == pytest.approx(inside.trace.spread["found"][0])


def test_a_cell_that_is_not_there_is_named_before_the_network_is_loaded(run, capsys):
    assert main(["look", str(run.folder), "cod"]) == 2
    assert "unknown cell 'cod': did you mean 'code'?" in capsys.readouterr().err
    assert not (run.folder / "look").exists()
    with pytest.raises(DasError, match="unknown cell"):
        Run.open(run.folder).angles(["nothing"])


# --- pictures ---


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("kind", ["binary", "few", "numbers", "texts", "many texts"])
def test_projections_are_drawn_for_any_number_of_columns_and_kind_of_value(columns, kind):
    import pandas as pd

    from das.draw.inside import INKS, projections

    rng = np.random.default_rng(0)
    values = {
        "binary": [bool(i % 2) for i in range(60)], "few": [i % 5 for i in range(60)], "numbers": [i / 7 for i in range(60)],
        "texts": [f"$a_{i % 3}" for i in range(60)], "many texts": [f"word {i}" for i in range(60)],
    }[kind]  # fmt: skip
    coordinates = {f"c{i + 1}": rng.normal(size=60) for i in range(columns)}
    table = pd.DataFrame({"variable": "v", "part": "", "prompt": range(60), "value": values, **coordinates})
    figure = projections(table, pd.DataFrame({"variable": ["v"], "part": [""], "column": ["c1"], "share": [0.5]}))
    figure.canvas.draw()
    main_axes, *others = figure.axes
    shown = sum(len(points.get_offsets()) for points in main_axes.collections)
    assert shown == 60
    assert bool(others) == (kind == "numbers")  # a colour bar, or a legend
    if kind != "numbers":
        names = [text.get_text() for text in main_axes.get_legend().get_texts()]
        assert main_axes.get_legend().get_title().get_text() == "v"
        assert len(names) == min(len(set(values)), len(INKS))
    assert ".50 of its variance" in main_axes.get_xlabel()
