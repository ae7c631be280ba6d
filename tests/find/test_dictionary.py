"""Latents of a dictionary are chosen by attribution, by a probe or by a trained mask, and judged as any other feature."""

from functools import cache

import pytest
import torch

from das import Experiment
from das.draw.outcome import outcome
from das.draw.page.assemble import page
from das.errors import DasError
from das.find.alignment import Cell
from das.find.kinds import parse_kind, plain_kind
from das.find.schedule import Schedule
from das.find.search import Search, align
from das.interchange import saelens
from das.interchange.sae import SAE
from das.interchange.score import score
from das.network.site import Site
from das.planted.planting import plant

SIZES = {"train_pairs": 400, "val_pairs": 200, "test_pairs": 100, "layers": [0], "positions": ["last"], "logger": "none"}
FEW = {"train_pairs": 60, "val_pairs": 20, "test_pairs": 10}
WAYS = ["attribution", "probe", "mask"]


@cache
def planted():
    network = plant(1)
    return network, Experiment(network.task, network.lm, **SIZES).material()


@cache
def tagger(hypothesis):
    return Experiment("price_tagging", "price-tagger-tiny", **SIZES | FEW, hypotheses=[hypothesis]).material()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dictionary whose latents 6 and 7 are the two ways along the planted direction, and the others lie across it."""
    basis = planted()[0].basis[:, :1]
    d = len(basis)
    across = torch.linalg.qr(torch.cat([basis, torch.randn(d, d - 1, generator=torch.Generator().manual_seed(0))], 1))[0][:, 1:]
    columns = torch.cat([across[:, :6], basis, -basis, across[:, 6:], -across], 1)
    at = tmp_path_factory.mktemp("dictionaries") / "planted"
    saelens.write(at, SAE(columns, torch.zeros(columns.shape[1]), columns.T, torch.zeros(d)), ("block_output", 0))
    return at


def found(kind, hypothesis=None, site=None, material=None, steps=60):
    m = material or planted()[1]
    name = hypothesis or next(iter(m.data["train"].pairs))
    cell = Cell(name, site or Site(0, "last"), parse_kind(kind))
    (a,) = align([cell], Search(m.engine, m.data, Schedule(steps=steps, check_every=steps)))
    return a, float(score(m.engine, m.data["test"], {0: (name, cell.site, [a.feature])})[0].mean())


@pytest.mark.parametrize("by", WAYS)
def test_the_latents_of_a_planted_direction_are_chosen(folder, by):
    a, iia = found(f"dictionary:{folder},k=4,by={by}")
    assert set(a.feature.called(0)) == {6, 7}
    assert iia > 0.95
    about = a.about["dictionary"]
    assert about["latents"] == [a.feature.called(0)]
    assert about["explained"] == pytest.approx(1, abs=1e-4), "these latents make up every vector"
    assert about["reconstruction"] == about["clean"]


def test_a_random_dictionary_does_not_find_it(folder):
    _, iia = found(f"dictionary:{folder},k=4,random=true")
    assert iia < 0.9


@pytest.mark.parametrize("by", WAYS)
def test_no_latent_is_of_two_variables(tmp_path, by):
    m = tagger("left_and_right")
    rows = torch.randn(256, 128, generator=torch.Generator().manual_seed(1))
    sae = SAE(rows.T.contiguous(), torch.zeros(256), torch.nn.functional.normalize(rows), torch.zeros(128), k=64)
    saelens.write(tmp_path / "sae", sae, ("block_output", 2))
    a, _ = found(f"dictionary:{tmp_path / 'sae'},k=5,by={by}", "left_and_right", Site(2, "last"), m, steps=5)
    chosen = a.feature.numbers[a.feature.chosen]
    assert chosen.shape == (2, 5)
    assert chosen.unique().numel() == 10


def test_an_experiment_is_judged_saved_and_read_again(folder, tmp_path):
    network, _ = planted()
    kinds = {"subspace": f"dictionary:{folder},k=4", "beside": [f"dictionary:{folder},k=2,by=probe"]}
    run = Experiment(network.task, network.lm, **kinds, **SIZES, nulls=2, chosen_seeds=1).run(tmp_path / "run")
    table = run.table().set_index("subspace")
    (name,) = (name for name in table.index if name.startswith("dictionary4 planted."))
    row = table.loc[name]
    assert row["test_iia"] > 0.9
    card = run.card(run.alignment(row["cell"]).cell)
    assert set(card["dictionary"]["latents"][0]) == {6, 7}
    (summary,) = run.summary["hypotheses"].values()
    assert summary["verdict"]["verdict"] in ("supported", "partly")
    known = summary["dictionary"]
    assert known["reconstruction"] == known["clean"], "its latents make up every vector"
    assert "right reconstructed" in outcome(run.summary)
    assert row["val_right_reconstructed"] == known["reconstruction"] == row["val_lm_base"]
    assert '{"name":"right_reconstructed"' in page(run).replace(" ", ""), "among what its heatmaps show"


def test_kinds_are_read_as_they_are_written(folder):
    kind = parse_kind(f"dictionary:{folder},k=3,by=probe")
    assert (kind.k, kind.by, kind.path) == (3, "probe", str(folder))
    assert parse_kind(plain_kind(kind)) == kind
    assert parse_kind(f"dictionary:{folder}").label != kind.label


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("dictionary:", "names no folder"),
        ("dictionary:nowhere", "holds no dictionary"),
        ("dictionary:{},by=magic", "magic"),
        ("dictionary:{},k=0", "at least 1"),
    ],
)
def test_what_cannot_be_a_dictionary_is_refused_at_once(folder, kind, says):
    with pytest.raises(DasError, match=says):
        parse_kind(kind.format(folder))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layers": [0, 1]}, "layer 0"),
        ({"components": ["mlp_output"]}, "is of block_output"),
        ({"layers": ["0+1"]}, "one place"),
    ],
)
def test_sites_that_it_is_not_of_are_refused_before_weights_are_loaded(folder, settings, says):
    with pytest.raises(DasError, match=says):
        Experiment("price_tagging", "price-tagger-tiny", subspace=f"dictionary:{folder}", **SIZES | settings).layout.ready()


def test_beside_others_it_stands_where_it_belongs_and_is_left_out_elsewhere_with_a_word(folder):
    network, _ = planted()
    kinds = {"subspace": "nested:k=4", "beside": [f"dictionary:{folder}", "probe"], "layers": [0, 1]}
    e = Experiment(network.task, network.lm, **SIZES | kinds)
    (name,) = e.hypotheses
    own, other = ({cell.kind.label for cell in e.refinement({name: Site(layer, "last")})} for layer in (0, 1))
    (latents,) = own - other
    assert other == {"nested4", "probe8"}
    (line,) = e.left_out({name: Site(1, "last")})
    assert line.startswith(f"{latents} is left out beside {name}: ")
    assert "is of block_output of layer 0" in line
    assert not e.left_out({name: Site(0, "last")})


def test_kinds_that_cannot_be_asked_are_left_out_beside_others(folder):
    kinds = {"beside": [f"dictionary:{folder}", "probe", "lat"]}
    e = Experiment("price_tagging", "price-tagger-tiny", **SIZES | kinds, hypotheses=["left_boundary", "midpoint"])
    latents, probe = e.left_out({"midpoint": Site(0, "last")})
    assert "is of vectors of 64 entries, and these have 128" in latents
    assert probe.endswith("beside midpoint: the values of midpoint's variables, by which it goes, are not known or too many")
    assert len(e.left_out({"left_boundary": Site(0, "last")})) == 1


def test_beside_others_it_is_refused_where_no_site_is_its_own(folder):
    with pytest.raises(DasError, match="is of block_output of layer 0"):
        Experiment("price_tagging", "price-tagger-tiny", **SIZES | {"layers": [1, 2], "beside": [f"dictionary:{folder}"]})


def test_vectors_of_another_size_and_too_few_latents_are_refused(folder):
    with pytest.raises(DasError, match="of vectors of"):
        found(f"dictionary:{folder}", "left_and_right", Site(0, "last"), tagger("left_and_right"))
    with pytest.raises(DasError, match="give k up to"):
        found(f"dictionary:{folder},k=5000")


def test_a_folder_that_was_changed_since_is_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    kind = parse_kind(f"dictionary:{copy}")
    (copy / "cfg.json").write_text((copy / "cfg.json").read_text() + "\n")
    with pytest.raises(DasError, match="no longer what this run began with"):
        kind.check_site(Site(0, "last"))
