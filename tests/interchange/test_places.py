"""Sites of several places: the engine's swap is the one that a few hooks of one's own make, row by row, and pyvene's."""

from functools import cache, partial
from operator import attrgetter

import numpy as np
import pytest
import torch
import transformers

from das import Experiment
from das.errors import DasError
from das.interchange.batch import Batch
from das.interchange.captures import Captures
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.feature import Rest, Whole, changes, kept
from das.interchange.selftest import make_engine
from das.interchange.subspace import Subspace, left, project, random_basis
from das.interchange.units import Units, subspace_of
from das.network.columns import check_apart
from das.network.lm import LM
from das.network.site import Place, Site
from das.pairs.dataset import Dataset, Labelled
from das.task.encoded import Encoded
from das.use.pyvene import pyvene_logits

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
T5 = {"vocab_size": 50, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 4, "num_heads": 4, "decoder_start_token_id": 0}

# name: (class, options, engine, its blocks, what projects its heads)
NETWORKS = {
    "llama": ("LlamaForCausalLM", GROUPED, ResumeEngine, "model.layers", "self_attn.o_proj"),
    "gpt2": ("GPT2LMHeadModel", SMALL, ResumeEngine, "transformer.h", "attn.c_proj"),
    "qwen2": ("Qwen2ForCausalLM", GROUPED, ResumeEngine, "model.layers", "self_attn.o_proj"),
    "bert": ("BertForMaskedLM", SMALL | {"intermediate_size": 48}, HookEngine, "bert.encoder.layer", "attention.output.dense"),
    "t5": ("T5ForConditionalGeneration", T5, HookEngine, "encoder.block", "layer.0.SelfAttention.o"),
}
SITES = {
    "two positions": Site(1, "here+last-1"),
    "two heads": Site(1, "here", "heads.1+heads.3"),
    "two layers": Site("0+2", "here"),
    "two layers, two positions": Site("2+0+3", "here+there+last"),
    "a head and what a layer hands on": Site("1+2", "there", "heads.2+block_output"),
    "inside one layer": Site(2, "there", "attention_output+mlp_output"),
    "from elsewhere": Site("2<-1+3", "here<-last+last<-there"),
    "from another head": Site(1, "here", "heads.1<-heads.3"),
}
FEATURES = ("spread", "by place", "whole", "rest")


@cache
def network(name):
    torch.manual_seed(0)
    kind, options, *_ = NETWORKS[name]
    cls = getattr(transformers, kind)
    lm = LM(cls(cls.config_class(**options)), None)
    for parameter in lm.model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return lm


@cache
def dataset():
    """Four base and source prompts of several lengths, padded on the left, whose places differ by row."""
    lengths, width = np.array([9, 7, 9, 8] * 2), 9
    ids = np.random.default_rng(0).integers(3, 50, (8, width))
    ids[np.arange(width) < (width - lengths)[:, None]] = 0
    spots = {"here": [3, 4, 5, 3, 4, 5, 3, 3], "there": [5, 6, 6, 4, 6, 7, 5, 6], "last-1": [7] * 8, "last": [8] * 8}
    prompts = Encoded(ids, lengths, {name: np.array(columns)[:, None] for name, columns in spots.items()})
    rows = np.arange(4)
    return Dataset(prompts, {"h": Labelled(rows, rows[None] + 4, rows, rows, rows)})


def feature(kind, sizes):
    """Of three columns for each place, or for all places together; of neurons anywhere."""
    generator = torch.Generator().manual_seed(1)
    if kind == "neurons":
        return Units(torch.randperm(sum(sizes), generator=generator)[None, :5], torch.ones(1, 5), sum(sizes))
    if kind in ("whole", "rest"):
        return Whole() if kind == "whole" else Rest(feature("spread", sizes))
    basis = random_basis(sum(sizes), 3, generator)
    if kind == "by place":
        basis = torch.block_diag(*(random_basis(size, 3, generator) for size in sizes))
    return Subspace(basis[:, None], torch.ones(1, basis.shape[1]))


@cache
def setting(name, kind, site):
    """An engine with the pairs at a site, and the feature that is swapped there."""
    engine, data = kind(network(name)), dataset()
    batch = Batch.capture(data, Captures(engine, data.prompts, site.spots, data.first([site])), {"h": np.arange(4)})
    return engine, batch, batch.swap("h", site), data.sizes(engine.lm, site)


def swapped(name, kind, site, what):
    engine, batch, swap, sizes = setting(name, kind, site)
    features = [feature(what, sizes)]
    deltas = changes(features, swap.base, swap.source)
    return batch.resume(engine, site, {"h": swap}, [deltas], [partial(kept, features)])[0]


# --- by hand ---


def module_of(name, place):
    """The module, whether its input is meant, and the entries."""
    *_, blocks, heads = NETWORKS[name]
    block = attrgetter(blocks)(network(name).model)[place.layer]
    if place.component.startswith("heads."):
        head = int(place.component[6:])
        return attrgetter(heads)(block), True, slice(8 * head, 8 * head + 8)
    if place.component == "block_output":
        return block, False, slice(None)
    inner = {"attention_output": attrgetter(heads), "mlp_output": _mlp}[place.component]
    return inner(block), False, slice(None)


def _mlp(block):
    paths = ("mlp.down_proj", "mlp.c_proj", "output.dense", "layer.1.DenseReluDense.wo")
    return next(attrgetter(path)(block) for path in paths if path in dict(block.named_modules()))


def run_with(name, ids, hooks):
    """Logits for one prompt alone, unpadded. hooks: (place, column, function of the vector there, or None to leave it)."""
    handles = []
    for place, column, function in hooks:
        module, given, entries = module_of(name, place)

        def change(value, column=column, function=function, entries=entries):
            tensor = (value[0] if isinstance(value, tuple) else value).clone()
            tensor[0, column, entries] = function(tensor[0, column, entries])
            return (tensor, *value[1:]) if isinstance(value, tuple) else tensor

        if given:
            handles.append(module.register_forward_pre_hook(lambda m, args, change=change: change(args)))
        else:
            handles.append(module.register_forward_hook(lambda m, args, out, change=change: change(out)))
    extra = {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)} if name == "t5" else {}
    try:
        return network(name).model(torch.from_numpy(ids)[None], **extra).logits[0, -1].float()
    finally:
        for handle in handles:
            handle.remove()


def by_hand(name, site, what, row):
    """The swap of one pair: what is at every place at first, what a swap of all of them at once makes of that, and then, in a run
    of the network, each place's part of it, in the directions that the feature has there."""
    prompts = dataset().prompts

    def vectors(places, which):
        ids, seen = prompts.ids[which, 9 - prompts.lengths[which] :], {}
        for i, place in enumerate(places):
            column = int(prompts.positions[place.position][which, 0]) - (9 - prompts.lengths[which])
            run_with(name, ids, [(place, column, lambda v, i=i: seen.setdefault(i, v.clone()))])
        return [seen[i] for i in range(len(places))]

    x, s = vectors(site.places, row), vectors(site.sources, row + 4)
    sizes = [len(v) for v in x]
    wanted = torch.cat(x) + feature(what, sizes).swap(torch.cat(x)[None], torch.cat(s)[None, None])[0]
    hooks, start = [], 0
    for place, clean, goal in zip(site.places, x, wanted.split(sizes), strict=True):
        own = None if what in ("whole", "rest") else subspace_of(feature(what, sizes)).basis[start : start + len(clean), 0]
        held = torch.eye(len(clean)) if own is None else own @ torch.linalg.pinv(own.double(), rtol=1e-4).float()
        start += len(clean)
        column = int(prompts.positions[place.position][row, 0]) - (9 - prompts.lengths[row])
        hooks.append((place, column, lambda v, held=held, clean=clean, goal=goal: goal + (v - clean) - held @ (v - clean)))
    return run_with(name, prompts.ids[row, 9 - prompts.lengths[row] :], hooks)


def assert_made_by_hand(name, site, what):
    expected = torch.stack([by_hand(name, site, what, row) for row in range(2)])
    for kind in dict.fromkeys([NETWORKS[name][2], HookEngine]):
        found = swapped(name, kind, site, what)[:2]
        assert (found - expected).abs().max() <= 2e-4 * expected.abs().max(), (what, kind)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_joint_swap_is_the_one_made_by_hand(name, site):
    for what in FEATURES:
        assert_made_by_hand(name, SITES[site], what)


@pytest.mark.parametrize(
    ("name", "site"), [("llama", "two layers, two positions"), ("gpt2", "two heads"), ("t5", "two layers")]
)
def test_a_joint_swap_of_neurons_is_the_one_made_by_hand(name, site):
    assert_made_by_hand(name, SITES[site], "neurons")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gets_the_engine_that_gives_all_swaps_at_once_exactly(name):
    components = ["block_output", "heads.1", "heads.3", "mlp_output"]
    assert isinstance(make_engine(network(name), None, components), NETWORKS[name][2])


@pytest.mark.parametrize("site", SITES)
def test_both_engines_have_the_same_gradients(site):
    """With respect to a basis, as training takes them, with masks between 0 and 1 that differ by row."""
    site, found = SITES[site], []
    for kind in (HookEngine, ResumeEngine):
        engine, batch, swap, sizes = setting("llama", kind, site)
        basis = random_basis(sum(sizes), 3, torch.Generator().manual_seed(2))[None, :, None].requires_grad_()
        mask = torch.rand(1, 4, 1, 3, generator=torch.Generator().manual_seed(3))
        delta = project(basis, mask, swap.base, swap.source)
        keep = lambda part, moved, basis=basis, mask=mask: left(basis[:, part], mask, moved)  # noqa: E731
        batch.resume(engine, site, {"h": swap}, [delta], [keep]).square().sum().backward()
        found.append(basis.grad)
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)


# --- what it comes to ---


@pytest.mark.parametrize("what", ["spread", "by place"])
def test_the_coordinates_come_out_as_the_sources_and_the_rest_runs_on(what):
    site = SITES["two layers, two positions"]
    engine, _, swap, sizes = setting("llama", HookEngine, site)
    seen = {}
    feat = feature(what, sizes)
    patched = engine.patched

    def noted(bases, patches, rows):
        def watching(patch, i):
            def settle(come):
                new = patch.settle(come)
                seen[i] = come[0].flatten(1), new[0].flatten(1)
                return new

            return type(patch)(patch.spot, patch.columns, patch.values, settle)

        return patched(bases, [watching(patch, i) for i, patch in enumerate(patches)], rows)

    engine.patched = noted
    try:
        swapped("llama", HookEngine, site, what)
    finally:
        del engine.patched
    came, put = (torch.cat([seen[i][j] for i in range(3)], 1) for j in (0, 1))
    torch.testing.assert_close(feat.read(put), feat.read(swap.source[0]), rtol=1e-4, atol=1e-4)
    assert (came - swap.base).abs().max() > 1e-3, "an earlier swap moves a later place"
    blocks = torch.block_diag(*(part[:, 0] for part in feat.basis.split(list(sizes))))
    basis = torch.linalg.svd(blocks, full_matrices=False)[0][:, : torch.linalg.matrix_rank(blocks)]
    untouched = put - came - (put - came) @ basis @ basis.T
    assert untouched.abs().max() < 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_the_whole_vectors_of_a_layer_s_last_places_swapped_with_themselves_change_nothing(name):
    site = Site("0+2", "here+last")
    engine, batch, swap, _ = setting(name, NETWORKS[name][2], site)
    zero = torch.zeros(1, *swap.base.shape)
    found = batch.resume(engine, site, {"h": swap}, [zero], [partial(kept, [Whole()])])[0]
    torch.testing.assert_close(found, network(name).logits(dataset().prompts.take(np.arange(4))), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("site", ["two positions", "two layers", "two layers, two positions"])
@pytest.mark.filterwarnings("ignore")
def test_a_swap_by_place_equals_pyvenes(site):
    site, prompts = SITES[site], dataset().prompts
    *_, sizes = setting("llama", ResumeEngine, site)
    base, source = prompts.take(np.arange(4)), prompts.take(np.arange(4, 8))
    expected = pyvene_logits(network("llama"), base, source, site, feature("by place", sizes))
    torch.testing.assert_close(swapped("llama", ResumeEngine, site, "by place"), expected, rtol=1e-4, atol=1e-5)


class Reader(torch.nn.Module):
    """A recurrent network over tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.gru = torch.nn.Embedding(50, 8), torch.nn.GRU(8, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 50)

    def forward(self, ids):
        return self.head(self.gru(self.embed(ids))[0])


@torch.no_grad()
def test_two_steps_of_a_recurrent_cell_are_swapped_each_on_what_the_earlier_one_made():
    torch.manual_seed(0)
    lm = LM(Reader(), None)
    ids = np.random.default_rng(0).integers(3, 50, (8, 9))
    prompts = Encoded(ids, np.full(8, 9), {"a": np.full((8, 1), 3), "b": np.full((8, 1), 5), "ab": np.full((8, 2), [3, 5])})
    rows, site = np.arange(4), Site(0, "a+b", "gru")
    data, engine = Dataset(prompts, {"h": Labelled(rows, rows[None] + 4, rows, rows, rows)}), HookEngine(lm)
    batch = Batch.capture(data, Captures(engine, prompts, site.spots, data.first([site])), {"h": rows})
    feat, swap = feature("by place", (8, 8)), batch.swap("h", site)
    found = batch.resume(engine, site, {"h": swap}, [changes([feat], swap.base, swap.source)], [partial(kept, [feat])])[0]
    every, state = lm.model.embed(torch.from_numpy(ids)), torch.zeros(1, 4, 8)
    sources = lm.model.gru(every[4:])[0]
    for step in range(9):
        state = lm.model.gru(every[:4, step : step + 1], state)[1]
        if step in (3, 5):
            own = feat.basis[:8, 0, :3] if step == 3 else feat.basis[8:, 0, 3:]
            state = state + (sources[None, :, step] - state) @ own @ own.T
    torch.testing.assert_close(found, lm.model.head(state[0]), rtol=1e-4, atol=1e-5)
    with pytest.raises(DasError, match="step"):
        check_apart(lm, prompts, Site(0, "ab+a", "gru"))


# --- how they are named ---


def test_what_is_joined_goes_together_one_by_one():
    assert Site("3+5", "a.last<-b+last", "heads.1").pairs == (
        (Place(3, "a.last", "heads.1"), Place(3, "b", "heads.1")),
        (Place(5, "last", "heads.1"), Place(5, "last", "heads.1")),
    )
    assert [place.position for place in Site(0, "amount+1+last-2+amount-1").places] == ["amount+1", "last-2", "amount-1"]
    assert Site("3 + 5", "a") == Site("3+5", "a")
    assert Site("3", "a") == Site(3, "a")
    assert (Site("4<-3", "a").layer, Site("4<-3", "a").entry, Site("3+5", "a", "heads.0+heads.2").entry) == ("4<-3", 5, 3)
    assert not Site(1, "a+b", "heads.1+heads.2").staged
    assert Site(1, "a", "heads.1+attention_output").staged


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("3+5", "a+b+c"), "give as many of each"),
        (("3+", "a"), "cannot be read"),
        (("x", "a"), "cannot be read"),
        (("3<-", "a"), "cannot be read"),
        (("3+3", "a"), "named twice"),
        ((3, "a+a"), "named twice"),
    ],
)
def test_a_site_that_cannot_be_is_one_clear_error(fields, message):
    with pytest.raises(DasError, match=message):
        Site(*fields)


def test_places_that_share_an_entry_are_refused():
    lm, prompts = network("llama"), dataset().prompts
    overlapping = {
        "same token in a row": Site(1, "last+alias"), "a head of heads": Site(1, "last", "heads+heads.2"),
        "another name": Site(1, "last", "block_output+model.layers.{layer}"),
    }  # fmt: skip
    named = Encoded(prompts.ids, prompts.lengths, prompts.positions | {"alias": np.array([[3]] * 7 + [[8]])})
    for site in overlapping.values():
        with pytest.raises(DasError, match="must be apart"):
            check_apart(lm, named, site)
    check_apart(lm, named, Site(1, "last", "heads.1+heads.2"))


def test_vectors_of_two_sizes_are_refused():
    with pytest.raises(DasError, match=r"of 8 entries.*of 32"):
        dataset().sizes(network("llama"), Site(1, "here", "heads.1<-block_output"))


def test_a_variable_that_may_keep_its_value_takes_nothing_from_elsewhere():
    def made(hypothesis):
        Experiment("price_tagging", "price-tagger-tiny", hypotheses=[hypothesis], positions=["amount.last<-last"]).ready()

    with pytest.raises(DasError, match=r"left_and_right aligns several variables, some of which keep their value"):
        made("left_and_right")
    made("left_boundary")
