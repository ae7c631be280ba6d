"""An alignment goes to others and comes back the same: folders, the hub, pyvene, MIB; and a run judges what others found."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import das
from das import Alignment, DasError, Experiment
from das.cli import main
from das.find.alignment import Cell
from das.find.foreign import read_feature
from das.find.given import Given
from das.find.kinds import Fixed, kind_name, parse_kind, plain_kind
from das.find.neurons import Neurons
from das.interchange.engine import HookEngine
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, random_basis
from das.interchange.units import Units
from das.network.lm import LM
from das.network.site import Site
from das.planted.structures import STRUCTURES
from das.task.encoded import Encoded
from das.use.mib import save_mib
from das.use.share import to_folder


def alignment(d=24, variables=1, rank=3, component="block_output", hypothesis="code"):
    basis = random_basis(d, variables * rank, torch.Generator().manual_seed(0)).unflatten(1, (variables, rank))
    mask = torch.ones(variables, rank)
    mask[0, -1] = 0
    return Alignment(Cell(hypothesis, Site(0, "last", component), Fixed(rank), 1), Subspace(basis, mask), steps=7)


def mask_over_heads(variables):
    """Six units of four entries, each variable's last not swapped."""
    units = torch.randperm(6, generator=torch.Generator().manual_seed(0))[: 3 * variables].view(variables, 3)
    mask = torch.tensor([1.0, 1, 0]).expand(variables, -1)
    kind = Neurons(k=3, over="heads")
    return Alignment(Cell("code", Site(0, "last", "heads"), kind, 1), Units(units, mask.clone(), 24, 4), steps=7)


def vectors(d=24, variables=1, rows=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, d, generator=generator), torch.randn(variables, rows, d, generator=generator)


def same(one, other):
    base, sources = vectors(variables=one.feature.variables)
    return one.cell == other.cell and torch.equal(one.feature.swap(base, sources), other.feature.swap(base, sources))


# --- folders and the hub ---


@pytest.mark.parametrize("variables", [1, 2])
def test_a_saved_alignment_is_loaded_the_same(tmp_path, variables):
    mine = alignment(variables=variables)
    mine.save_pretrained(tmp_path / "shared")
    back = Alignment.from_pretrained(tmp_path / "shared")
    assert same(mine, back)
    assert (back.steps, back.rank) == (7, 3 * variables - 1)
    assert not list((tmp_path / "shared").glob("*.bin"))


@pytest.mark.parametrize("variables", [1, 2])
@pytest.mark.parametrize("make", [alignment, mask_over_heads])
def test_the_cards_own_lines_swap_as_das_does(tmp_path, monkeypatch, make, variables):
    mine = make(variables=variables)
    mine.save_pretrained(tmp_path)
    assert same(mine, Alignment.from_pretrained(tmp_path))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.S)
    assert "das" not in code
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names = {}
    exec(code, names)
    base, sources = vectors(variables=variables)
    torch.testing.assert_close(names["swap"](base, sources), base + mine.feature.swap(base, sources))


def test_the_hub_is_given_what_is_kept_and_gives_it_back(tmp_path, monkeypatch):
    """Against a stand-in for the hub: a folder per repository."""
    import shutil

    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoUrl

    from das.find import alignment as module

    def create_repo(self, repo_id, **options):
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, repo_id, folder_path, **options):
        shutil.copytree(folder_path, tmp_path / repo_id)
        return f"commit of {repo_id}"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(
        "huggingface_hub.hub_mixin.hf_hub_download", lambda repo_id, filename, **options: str(tmp_path / repo_id / filename)
    )
    monkeypatch.setattr(module, "snapshot_download", lambda repo, allow_patterns, **options: str(tmp_path / repo))
    mine = alignment()
    assert mine.push_to_hub("me/code") == "commit of me/code"
    assert {"README.md", "card.json", "alignment.safetensors", "config.json"} == {
        p.name for p in (tmp_path / "me/code").iterdir()
    }
    assert same(mine, Alignment.from_pretrained("me/code"))


def test_what_a_card_says_is_no_markup(tmp_path):
    mine = replace(
        alignment(),
        about={"claim": {"hypothesis": "a`<b>|c", "verdict": "partly", "sentence": "<script>x</script> *y* [z](w)"}},
    )
    mine.save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "\\<script\\>" in text
    assert "<script>" not in text
    assert "\\[z\\](w)" in text
    assert "# `a'<b>/c`" in text  # inside code nothing is markup


@pytest.mark.parametrize(("change", "why"), [({"cell": {}}, "is not the card"), ({"feature": "Pickle"}, "holds a feature of type 'Pickle'"), ({"steps": None}, "is not the card")])  # fmt: skip
def test_a_strangers_card_is_read_with_care(tmp_path, change, why):
    alignment().save_pretrained(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | change))
    with pytest.raises(DasError, match=why):
        Alignment.from_pretrained(tmp_path)


# --- a run ---


@pytest.fixture(scope="module")
def made():
    return STRUCTURES["plain"].make(0)


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("share") / "run"
    return Experiment(made.task, made.lm, layers=[0], positions=["last"], subspace="fixed:k=2", **SMALL).run(folder)


def test_a_runs_card_says_what_its_summary_says(run, tmp_path):
    entry = run.summary["hypotheses"]["code"]
    run.share("code").save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert f"**{entry['verdict']['verdict']}.**" in text
    assert f"{entry['test_iia']:.3f}, 95 % interval {entry['test_ci'][0]:.3f} to {entry['test_ci'][1]:.3f}" in text
    assert "nulls | none were run" in text
    assert "`block_output[0] @ last`, vectors of 24 entries" in text


def test_a_run_shows_its_verdicts_in_a_notebook(run):
    entry, html = run.summary["hypotheses"]["code"], run._repr_html_()
    assert entry["verdict"]["verdict"] in html
    assert f"{entry['test_iia']:.3g}" in html


def test_push_writes_a_folder_whole_or_not_at_all(run, tmp_path, capsys):
    assert main(["push", str(run.folder), "code", "--folder", str(tmp_path / "out")]) == 0
    assert same(run.share("code"), Alignment.from_pretrained(tmp_path / "out"))
    for words in (
        ["--folder", str(tmp_path / "out")],
        [],
        ["--folder", "x", "--repo", "me/x"],
        ["--repo", "me/x", "--form", "mib"],
    ):
        assert main(["push", str(run.folder), "code", *words]) == 2
    with pytest.raises(DasError, match="form is 'zip'"):
        to_folder(run.share("code"), tmp_path / "other", "zip")
    assert not (tmp_path / "other").exists()
    capsys.readouterr()


# --- bring your own ---


def test_a_given_subspace_is_judged_as_a_cell_and_scores_what_it_is_worth(made, tmp_path):
    found = replace(alignment(), feature=Subspace(made.basis[:, None], torch.ones(1, 2)))
    found.save_pretrained(tmp_path / "mine")
    experiment = Experiment(made.task, made.lm, layers=[0], positions=["last"], subspace=f"given:{tmp_path / 'mine'}", **SMALL)
    entry = experiment.run(tmp_path / "run").summary["hypotheses"]["code"]
    assert entry["test_iia"] > 0.99
    assert entry["rank"] == 2
    assert entry["subspace"].startswith("given mine.")
    assert entry["verdict"]["verdict"] == "supported"
    replace(found, feature=Subspace(made.basis[:, None].flip(2), torch.ones(1, 2))).save_pretrained(tmp_path / "mine")
    with pytest.raises(DasError, match="holds a run with subspace"):
        Experiment(made.task, made.lm, layers=[0], positions=["last"], subspace=f"given:{tmp_path / 'mine'}", **SMALL).run(
            tmp_path / "run"
        )


def test_a_given_subspace_that_does_not_fit_is_refused(made, tmp_path):
    alignment(d=23).save_pretrained(tmp_path / "narrow")
    with pytest.raises(DasError, match="in vectors of 23 entries, and code at block_output"):
        Experiment(made.task, made.lm, layers=[0], positions=["last"], subspace=f"given:{tmp_path / 'narrow'}", **SMALL).run(
            tmp_path / "run"
        )
    with pytest.raises(DasError, match="holds no subspace"):
        parse_kind(f"given:{tmp_path}/nothing")
    with pytest.raises(DasError, match="names no subspace"):
        parse_kind("given")


def test_a_given_kind_is_told_by_its_content_and_needs_no_file_to_be_named(tmp_path):
    alignment().save_pretrained(tmp_path / "mine")
    kind = parse_kind(f"given:{tmp_path / 'mine'}")
    assert isinstance(kind, Given)
    (tmp_path / "mine" / "alignment.safetensors").unlink()
    assert parse_kind(plain_kind(kind)) == kind
    assert kind_name(kind) == f"given mine.{kind.sum[:6]}"


def test_columns_that_are_no_basis_are_refused(tmp_path):
    from safetensors.torch import save_file

    for basis in (torch.ones(24, 2), torch.full((24, 2), float("nan")), random_basis(24, 3, torch.Generator()).T.contiguous()):
        save_file({"basis": basis}, tmp_path / "x.safetensors")
        with pytest.raises(DasError, match=r"not orthonormal|has the shape"):
            read_feature(tmp_path / "x.safetensors")
    (tmp_path / "x.bin").write_bytes(b"no tensors")
    with pytest.raises(DasError, match="no tensors that can be read"):
        read_feature(tmp_path / "x.bin")


# --- pyvene ---

NETWORKS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=24, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("component", ["block_output", "mlp_output"])
@pytest.mark.filterwarnings("ignore")
def test_pyvenes_network_answers_as_das_does(name, component):
    torch.manual_seed(0)
    lm, mine = LM(NETWORKS[name](), None), alignment(component=component)
    ids = np.random.default_rng(0).integers(3, 50, (2, 3, 8))
    base, source = (Encoded(rows, np.full(3, 8), {"last": np.full((3, 1), 7)}) for rows in ids)
    engine, spot, at = HookEngine(lm), mine.cell.site.spot, torch.full((3, 1), 7)
    captures = [engine.capture(prompts, [spot]) for prompts in (base, source)]
    own, other = (capture.at(spot, at)[:, 0] for capture in captures)
    expected = engine.resume(captures[0], spot, at, (own + mine.feature.swap(own, other[None]))[None, :, None])[0]
    places = [[[7]] * 3]
    _, out = das.to_pyvene(mine, lm.model)(
        {"input_ids": torch.from_numpy(ids[0])}, [{"input_ids": torch.from_numpy(ids[1])}], {"sources->base": (places, places)}
    )
    torch.testing.assert_close(out.logits[:, -1].float(), expected, rtol=1e-5, atol=1e-5)
    assert (expected - captures[0].logits).abs().max() > 1e-3


def test_what_pyvene_cannot_say_is_refused():
    lm = LM(NETWORKS["llama"](), None)
    for mine, why in ((alignment(variables=2), "of one variable"), (replace(alignment(), feature=Whole(1)), "this is whole"), (alignment(d=48), "has 24 a token"), (alignment(d=6, component="heads.1"), "part of a module")):  # fmt: skip
        with pytest.raises(DasError, match=why):
            das.to_pyvene(mine, lm)


@pytest.fixture(scope="module")
def pyvene():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pyvene")


def test_pyvenes_low_rank_space_is_read_as_it_swaps(pyvene, tmp_path):
    torch.manual_seed(0)
    theirs = pyvene.LowRankRotatedSpaceIntervention(embed_dim=24, low_rank_dimension=3)
    torch.save(theirs.state_dict(), tmp_path / "intkey_layer.0.bin")
    base, sources = vectors()
    for mine in (das.from_pyvene(theirs), das.from_pyvene(tmp_path), das.from_pyvene(tmp_path / "intkey_layer.0.bin")):
        torch.testing.assert_close(base + mine.swap(base, sources), theirs(base, sources[0]).detach(), rtol=1e-4, atol=1e-5)
    assert parse_kind(f"given:{tmp_path}").sum


@pytest.mark.parametrize("boundary", [0.25, 0.5, 1.0])
def test_pyvenes_boundless_space_is_read_as_it_swaps_at_its_end(pyvene, boundary):
    """At a low temperature, but for column 0, of which its mask has one half whatever the temperature (see docs/share.md)."""
    torch.manual_seed(0)
    theirs = pyvene.BoundlessRotatedSpaceIntervention(embed_dim=24)
    theirs.set_intervention_boundaries(boundary - 1e-3)
    theirs.set_temperature(torch.tensor(1e-4))
    mine, (base, sources) = das.from_pyvene(theirs), vectors()
    assert mine.size == 24 * boundary
    half = mine.columns(0)[:, :1] @ (mine.columns(0)[:, :1].T @ (sources[0] - base).T) / 2
    torch.testing.assert_close(
        base + mine.swap(base, sources), theirs(base, sources[0]).detach() + half.T, rtol=1e-4, atol=1e-4
    )


def test_a_rotation_that_does_not_say_how_many_columns_is_refused_until_told(pyvene):
    theirs = pyvene.RotatedSpaceIntervention(embed_dim=24)
    with pytest.raises(DasError, match="does not say how many"):
        das.from_pyvene(theirs)
    base, sources = vectors()
    theirs.set_interchange_dim(5)
    for mine in (das.from_pyvene(theirs), das.from_pyvene(theirs, 5)):
        torch.testing.assert_close(base + mine.swap(base, sources), theirs(base, sources[0]).detach(), rtol=1e-4, atol=1e-4)
    boundless = dict(pyvene.BoundlessRotatedSpaceIntervention(embed_dim=24).state_dict())
    del boundless["intervention_boundaries"]
    with pytest.raises(DasError, match="does not say how many"):
        das.from_pyvene(boundless)
    with pytest.raises(DasError, match="30 columns of"):
        das.from_pyvene(theirs, 30)


# --- MIB ---


def test_mibs_files_hold_what_its_loader_reads(tmp_path):
    """The loader's steps: the rotation into a weight (d, rank), an orthogonal parametrization, then the state dict."""
    mine = alignment()
    unit = save_mib(mine, tmp_path, "last_token")
    assert unit == "ResidualStream(Layer-1,Token-last_token)"  # its layers are their inputs
    assert json.loads((tmp_path / f"{unit}_indices").read_text()) is None
    base, sources = vectors()
    for part in ("featurizer", "inverse_featurizer"):
        kept = torch.load(tmp_path / f"{unit}_{part}", weights_only=True)
        matrix = kept["model_info"]["additional_config"]["rotation_matrix"]
        holder, layer = torch.nn.Module(), torch.nn.Module()
        layer.weight = torch.nn.Parameter(torch.empty(*matrix.shape))
        layer.weight.data.copy_(matrix)
        holder.rotate = torch.nn.utils.parametrizations.orthogonal(layer)
        holder.load_state_dict(kept["state_dict"])
        weight = holder.rotate.weight.detach()
        assert kept["model_info"]["n_features"] == 2
        features, error = sources[0] @ weight, base - base @ weight @ weight.T
        torch.testing.assert_close(features @ weight.T + error, base + mine.feature.swap(base, sources), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("given", "token", "why"), [({"variables": 2}, None, "of one variable"), ({"component": "heads"}, None, "block_output"), ({}, "a/b", "token is 'a/b'")])  # fmt: skip
def test_what_mib_cannot_hold_is_refused(tmp_path, given, token, why):
    with pytest.raises(DasError, match=re.escape(why)):
        to_folder(alignment(**given), tmp_path / "out", "mib", token)
    assert not (tmp_path / "out").exists()
