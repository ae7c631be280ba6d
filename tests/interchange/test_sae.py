"""Dictionaries: what a sparse autoencoder makes of a vector, against the formulas written out, and its file, against a folder
written by hand as SAELens documents it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from das.errors import DasError
from das.interchange import saelens
from das.interchange.sae import SAE, quality
from das.network.site import Site

D, LATENTS = 6, 10


def weights(**more):
    generator = torch.Generator().manual_seed(3)
    shapes = {"W_enc": (D, LATENTS), "b_enc": (LATENTS,), "W_dec": (LATENTS, D), "b_dec": (D,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} | more


ROWS = torch.randn(50, D, generator=torch.Generator().manual_seed(4))
V6 = {
    "d_in": D, "d_sae": LATENTS, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
    "normalize_activations": "none", "reshape_activations": "none",
    "metadata": {"sae_lens_version": "6.12.1", "model_name": "gpt2", "hook_name": "blocks.3.hook_resid_post", "hook_head_index": None},
}  # fmt: skip
V5 = {
    "architecture": "standard", "activation_fn_str": "relu", "d_in": D, "d_sae": LATENTS, "model_name": "gpt2",
    "hook_name": "blocks.3.hook_mlp_out", "hook_layer": 3, "hook_head_index": None, "prepend_bos": True,
    "normalize_activations": "none", "apply_b_dec_to_input": False, "finetuning_scaling_factor": False,
}  # fmt: skip


def kept(folder, config, tensors):
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def before(w, centred=True):
    return (ROWS - w["b_dec"] * centred) @ w["W_enc"] + w["b_enc"]


def best(values, k):
    """All but the k largest of each row are 0, and so is what is negative."""
    least = values.sort(1, descending=True).values[:, k - 1 : k]
    return torch.where(values >= least, values, 0).relu()


def test_a_folder_is_read_as_its_formulas_say(tmp_path):
    w, level = weights(), torch.linspace(-1, 2, LATENTS)
    norms = w["W_dec"].norm(dim=1)
    cases = {
        "relu": (V6 | {"architecture": "standard"}, w, before(w).relu(), w["W_dec"]),
        "old relu": (V5, w, before(w, centred=False).relu(), w["W_dec"]),
        "topk": (V6 | {"architecture": "topk", "k": 3}, w, best(before(w), 3), w["W_dec"]),
        "old topk": (V5 | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}, w, best(before(w, False), 3), w["W_dec"]),
        "topk by length": (
            V6 | {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True}, w, best(before(w) * norms, 3),
            w["W_dec"] / norms[:, None],
        ),
        "jumprelu": (
            V6 | {"architecture": "jumprelu"}, w | {"threshold": level}, before(w).relu() * (before(w) > level.relu()), w["W_dec"]
        ),
    }  # fmt: skip
    for name, (config, tensors, active, decoder) in cases.items():
        sae = saelens.read(kept(tmp_path / name.replace(" ", "_"), config, tensors)).sae
        torch.testing.assert_close(sae.encode(ROWS), active, msg=name)
        torch.testing.assert_close(sae.reconstruct(ROWS), active @ decoder + w["b_dec"], msg=name)
        some = torch.tensor([7, 2, 5])
        torch.testing.assert_close(sae.only(some).encode(ROWS), active[:, some], msg=name)
        torch.testing.assert_close(sae.only(some).only(torch.tensor([2, 0])).encode(ROWS), active[:, [5, 7]], msg=name)


def test_what_is_written_is_what_was_read(tmp_path):
    for name, config, more in (
        ("standard", {}, {}), ("topk", {"k": 2}, {}), ("jumprelu", {}, {"threshold": torch.rand(LATENTS)}),
    ):  # fmt: skip
        folder = kept(tmp_path / name, V6 | {"architecture": name} | config, weights(**more))
        found = saelens.read(folder)
        saelens.write(tmp_path / f"{name} again", found.sae, found.spot, {"model_name": "gpt2"})
        ours, theirs = (load_file(f / "sae_weights.safetensors") for f in (tmp_path / f"{name} again", folder))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        written = json.loads((tmp_path / f"{name} again" / "cfg.json").read_text())
        asked = json.loads((folder / "cfg.json").read_text())
        assert {k: written.get(k) for k in asked if k != "metadata"} == {k: v for k, v in asked.items() if k != "metadata"}
        assert written["metadata"]["hook_name"] == "blocks.3.hook_resid_post"


@pytest.mark.parametrize(
    ("hook", "spot"),
    [
        ("blocks.3.hook_resid_post", ("block_output", 3)), ("blocks.3.hook_resid_pre", ("block_output", 2)),
        ("blocks.0.hook_resid_pre", None), ("blocks.3.attn.hook_z", ("heads", 3)), ("blocks.3.hook_mlp_out", ("mlp_output", 3)),
        ("blocks.3.mlp.hook_post", ("mlp_neurons", 3)), ("transformer.h.3", None), ("", None),
    ],
)  # fmt: skip
def test_hooks_are_spots(hook, spot):
    assert saelens.spot_of(hook) == spot
    if spot and "pre" not in hook:
        assert saelens.hook_of(spot) == hook


@pytest.mark.parametrize(
    ("config", "tensors", "says"),
    [
        ({"normalize_activations": "layer_norm"}, {}, "normalised"),
        ({"normalize_activations": "expected_average_only_in"}, {}, "normalised"),
        ({"architecture": "gated"}, {}, "expected one of standard, topk, jumprelu"),
        ({"architecture": "topk"}, {}, "does not say k"),
        ({"architecture": "topk", "k": 11}, {}, "there are 10 latents"),
        ({"architecture": "jumprelu"}, {}, "lacks threshold"),
        ({"activation_fn": "tanh-relu"}, {}, "expected relu or topk"),
        ({"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": True}}}, {}, "weights were changed"),
        ({"metadata": {"hook_head_index": 2}}, {}, "head 2 alone"),
        ({}, {"scaling_factor": torch.full((LATENTS,), 2.0)}, "has scaling_factor too"),
        ({}, {"W_dec": torch.zeros(D, LATENTS)}, "expected"),
        ({}, {"b_dec": torch.full((D,), torch.nan)}, "no numbers"),
    ],
)
def test_what_would_give_wrong_figures_is_refused(tmp_path, config, tensors, says):
    folder = kept(tmp_path / "sae", V6 | {"architecture": "standard"} | config, weights(**tensors))
    with pytest.raises(DasError, match=says):
        saelens.read(folder)


def test_what_is_no_dictionary_is_refused(tmp_path):
    with pytest.raises(DasError, match="holds no dictionary"):
        saelens.read(tmp_path)
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(DasError, match="expected a mapping"):
        saelens.read(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(V6))
    with pytest.raises(DasError, match="no tensors that can be read"):
        saelens.read(tmp_path)


def test_a_dictionary_is_for_its_own_site(tmp_path):
    found = saelens.read(kept(tmp_path / "sae", V6 | {"architecture": "standard"}, weights()))
    found.check_site(Site(3, "last"), "it")
    for site in (Site(2, "last"), Site(3, "last", "mlp_output"), Site("3+4", "last"), Site("3<-2", "last")):
        with pytest.raises(DasError, match="it is of"):
            found.check_site(site, "it")


def test_quality_counts_what_is_there():
    """Two latents along the axes, one of which never fires, and a third that nothing reads."""
    sae = SAE(torch.eye(2, 3), torch.zeros(3), torch.eye(3, 2), torch.zeros(2), centred=False)
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, -1.0]])
    found = quality(sae, rows)
    assert found.explained == pytest.approx(1 - 1 / float((rows - rows.mean(0)).square().sum()))
    assert (found.l0, found.dead, found.vectors) == (1.0, pytest.approx(2 / 3), 3)


def test_a_random_dictionary_is_as_sparse_and_knows_nothing():
    w = weights()
    sae = SAE(w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"])
    rows = torch.randn(2000, D, generator=torch.Generator().manual_seed(5))
    random = sae.scrambled(rows, 1)
    torch.testing.assert_close(
        (random.encode(rows) > 0).float().mean(0), (sae.encode(rows) > 0).float().mean(0), atol=5e-3, rtol=0
    )
    assert not torch.equal(random.decoder, sae.scrambled(rows, 2).decoder)
