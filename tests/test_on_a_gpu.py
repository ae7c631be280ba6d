"""On a GPU everything says what it says on the processor. Skipped, with a word, where there is none."""

import pytest
import torch
import transformers

import das
from das import LM, DasError, Experiment, Site
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.engine import ResumeEngine
from das.interchange.selftest import make_engine, self_test
from das.interchange.subspace import Subspace, random_basis
from das.judge.nulls import reinitialised

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
NETWORKS = {
    "Llama": GROUPED, "GPT2": SMALL, "GPTNeoX": SMALL | {"intermediate_size": 48}, "Qwen3": GROUPED | {"head_dim": 12},
    "Gemma2": GROUPED | {"head_dim": 8}, "OPT": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32},
}  # fmt: skip
RUN = {
    "layers": [1, 2], "positions": ["c.last", "last"], "steps": 60, "batch": 32, "check_every": 20, "chosen_seeds": 1, "closed_forms": [], "nulls": 2,
    "train_pairs": 200, "val_pairs": 60, "test_pairs": 200, "threads": 1, "subspace": "nested:k=16", "logger": "none",
}  # fmt: skip
BASES = {"a": [2, 7], "b": [3, 1], "c": [4, 6]}


def network(name, options):
    """Random in every parameter, on the GPU."""
    torch.manual_seed(0)
    kind = getattr(transformers, {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM"))
    lm = LM(kind(kind.config_class(**options)).cuda(), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return lm


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_resumed_and_passes_its_own_test(name):
    lm = network(name, NETWORKS[name])
    assert self_test(lm) < 1e-4
    assert isinstance(make_engine(lm), ResumeEngine)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    return {
        device: Experiment("arithmetic", "arithmetic-tiny", device=device, **RUN).run(folder / device)
        for device in ("cpu", "auto")
    }


def test_a_run_finds_what_it_finds_on_the_processor(runs):
    tables = {device: run.table().set_index("cell") for device, run in runs.items()}
    assert (tables["cpu"].index == tables["auto"].index).all()
    assert (tables["cpu"]["test_iia"] - tables["auto"]["test_iia"]).abs().max() < 0.1
    assert (tables["cpu"]["test_whole"] - tables["auto"]["test_whole"]).abs().max() < 0.01  # nothing is trained


def test_what_was_found_on_a_gpu_does_on_the_processor_what_it_does_there(runs):
    found = Alignment.load(next((runs["auto"].folder / "cells").iterdir()))
    ways = {}
    for device in ("cpu", "cuda"):
        lm = LM.load("arithmetic-tiny", device=device)
        ways[device] = das.apply(lm, found, BASES, {"a": 5}, task="arithmetic").logits["after"]
    assert torch.allclose(ways["cpu"], ways["cuda"], atol=1e-3)


def test_a_text_is_generated_under_the_swap_as_on_the_processor():
    basis = random_basis(128, 8, torch.Generator().manual_seed(0))[:, None]
    swap = Alignment(Cell("sum", Site(1, "last"), Fixed(8)), Subspace(basis, torch.ones(1, 8)))
    texts = {}
    for device in ("cpu", "cuda"):
        lm = LM.load("arithmetic-tiny", device=device)
        texts[device] = das.generate(lm, swap, "Compute (2 + 3) * 4 =", "Compute (5 + 3) * 4 =", tokens=6)
    assert repr(texts["cpu"]) == repr(texts["cuda"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_run_in_half_precision_ends_in_a_verdict(dtype, tmp_path):
    run = Experiment("arithmetic", "arithmetic-tiny", device="cuda", dtype=dtype, **RUN).run(tmp_path / "run")
    assert run.table()["test_iia"].between(0, 1).all()


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(DasError, match="CUDA devices here"):
        LM.load("arithmetic-tiny", device=f"cuda:{torch.cuda.device_count()}")


def test_an_untrained_twin_is_drawn_on_the_gpu_the_same_for_a_seed_and_leaves_the_users_draws_alone():
    lm = LM.load("arithmetic-tiny", device="cuda")
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    one, same, other = (reinitialised(lm, seed).model.state_dict() for seed in (1, 1, 2))
    assert all(
        torch.equal(was, now) for was, now in zip(before, (torch.cuda.get_rng_state(), torch.get_rng_state()), strict=True)
    )
    weights = [name for name, value in one.items() if value.dim() > 1]
    assert all(one[name].is_cuda and torch.equal(one[name], same[name]) for name in weights)
    assert not any(torch.equal(one[name], other[name]) for name in weights)
