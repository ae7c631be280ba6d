"""What das asks is what the network answers: prompts of several lengths, wrapped networks, other positions, broken files."""

import json
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast, GPT2Config, GPT2LMHeadModel

sys.path.append(str(ROOT / "benchmarks"))
import architectures

from das import CausalModel, Choice, Experiment, Hypothesis, Prompt, Task
from das.errors import DasError
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.selftest import make_engine
from das.network.closeness import apart
from das.network.lm import LM
from das.network.parts import a_few
from das.task.answers import answer_token
from das.task.encoded import Encoded, encode
from das.task.tokenizer import make_tokenizer


def gpt2(**options):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=3, **options
    )
    model = GPT2LMHeadModel(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


class Own(nn.Module):
    """A network of transformers behind a forward that takes token ids alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, idx):
        return self.inner(input_ids=idx).logits


def lora(model):
    peft = pytest.importorskip("peft")
    options = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    return peft.get_peft_model(model, options)


WRAPPERS = {
    "own module": Own,
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "DataParallel": nn.DataParallel,
    "peft": lora,
}


def by_itself(model, asked):
    """What a network answers to each prompt alone, given as token ids."""
    with torch.no_grad():
        rows = [model(torch.from_numpy(ids[-n:])[None]) for ids, n in zip(asked.ids, asked.lengths, strict=True)]
    return torch.cat([getattr(row, "logits", row)[:, -1] for row in rows])


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.filterwarnings("ignore")
def test_a_wrapped_network_answers_as_it_does_by_itself(name):
    wrapped, asked = WRAPPERS[name](gpt2()).eval(), architectures.prompts()
    torch.testing.assert_close(LM(wrapped, None).logits(asked), by_itself(wrapped, asked), rtol=1e-4, atol=1e-4)


def test_one_length_at_a_time_gives_the_same_swaps_and_gradients_as_padding():
    padded, alone, asked = LM(gpt2(), None), LM(Own(gpt2()), None), architectures.prompts()
    columns, found = torch.tensor([[12], [9], [8], [11], [7]]), []
    for lm, component in ((padded, "transformer.h.{layer}.mlp"), (alone, "inner.transformer.h.{layer}.mlp")):
        engine, spot = HookEngine(lm), (component, 0)
        capture = engine.capture(asked, [spot], first=5)
        values = torch.randn(2, 5, 1, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
        logits = engine.resume(capture, spot, columns, values)
        slopes = engine.gradients(capture, [spot], lambda logits: logits.square().sum(), slice(1, 4))
        gradient = torch.autograd.grad(logits.square().sum(), values)[0]
        at = slopes.at(spot, columns[1:4])
        found.append((capture.logits, capture.at(spot, columns), logits.detach(), gradient, slopes.logits, at))
    assert padded.asking.way.padded
    assert not alone.asking.way.padded
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_network_that_answers_otherwise_in_company_is_refused_with_the_figures():
    class Company(Own):
        def forward(self, idx):
            return super().forward(idx) * (1 + 0.5 * (len(idx) > 1))

    some = architectures.prompts().take([0, 0, 1])
    with pytest.raises(DasError, match=r"as it answers each of them alone .*one length at a time.*off by 0\.\d"):
        LM(Company(gpt2()), None).logits(some)


def test_a_way_that_fails_on_other_prompts_is_given_up():
    class Short(Own):
        """Hears padding in short prompts alone."""

        def forward(self, input_ids, attention_mask=None):
            hears = attention_mask is not None and input_ids.shape[1] < 10
            place = (attention_mask.cumsum(1) - 1).clamp(min=0) if hears else None
            return self.inner(input_ids=input_ids, attention_mask=attention_mask, position_ids=place).logits

    lm, asked = LM(Short(gpt2()), None), architectures.prompts()
    short = Encoded(asked.ids[3:, 4:], asked.lengths[3:])
    lm.logits(short)
    assert lm.asking.way.padded
    make_engine(lm, None, ["inner.transformer.h.{layer}"], prompts=asked)
    assert not lm.asking.way.padded


def test_a_few_prompts_hold_the_shortest_and_the_longest():
    some = a_few(architectures.prompts())
    assert {7, 13} <= set(some.lengths.tolist())
    assert len(some) <= 4


# --- modules that are run several times ---


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(60, 8), nn.GRUCell(8, 8), nn.Linear(8, 60)

    def forward(self, idx, state=None):
        state = torch.zeros(len(idx), 8) if state is None else state
        for column in self.embed(idx).unbind(1):
            state = self.cell(column, state)
        return self.head(state)


def test_a_cell_that_is_called_for_every_step_is_swapped_at_the_token_of_one_step():
    lm, prompts, site = LM(Steps(), None), architectures.prompts(), ("cell", 0)
    new = torch.randn(1, len(prompts), 8, generator=torch.Generator().manual_seed(0))
    at = torch.full((len(prompts), 1), prompts.width - 3)
    engine = make_engine(lm, None, ["cell"], prompts=prompts)
    with torch.no_grad():
        found = engine.resume(engine.capture(prompts, [site]), site, at, new[:, :, None])[0]
        by_hand = lm.model(torch.from_numpy(prompts.ids[:, -2:]), new[0])
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-6)


def test_a_layer_that_is_shared_is_refused():
    lm = LM(architectures.network("albert"), None)
    with pytest.raises(DasError, match="is 2 times run when the network answers one prompt"):
        make_engine(lm, None, ["albert.encoder.albert_layer_groups.0"], prompts=architectures.prompts())


def test_a_component_that_reaches_no_answer_is_refused():
    class Spare(Own):
        def __init__(self, inner):
            super().__init__(inner)
            self.spare = nn.Linear(60, 4)

        def forward(self, idx):
            logits = super().forward(idx)
            return logits + 0 * self.spare(logits).sum()

    with pytest.raises(DasError, match="'spare' of Spare: whatever is put there"):
        make_engine(LM(Spare(gpt2()), None), None, ["spare"], prompts=architectures.prompts())


# --- broken networks ---


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_found_at_the_door(value):
    model = gpt2()
    model.transformer.h[0].mlp.c_fc.weight.data[0] = value
    with pytest.raises(DasError, match="not finite"):
        make_engine(LM(model, None))


def test_a_network_that_gives_no_gradients_is_refused():
    class Whole(Own):
        """As one of integers does."""

        def forward(self, input_ids):
            return super().forward(input_ids).detach()

    with pytest.raises(DasError, match=r"no gradient comes from the answers .* load it with plain weights"):
        make_engine(LM(Whole(gpt2()), None), None, ["inner.transformer.h.0"], prompts=architectures.prompts())


@pytest.fixture
def folder(tmp_path):
    """A saved network with its tokenizer."""
    tokenizer = make_tokenizer(["a b c d"])
    gpt2().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_whole_folder_loads_without_a_word(folder, capfd):
    lm = LM.load(str(folder))
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")
    torch.testing.assert_close(lm.logits(architectures.prompts()), by_itself(gpt2().eval(), architectures.prompts()))


def test_missing_weights_are_not_drawn_at_random(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DasError, match=r"not whole: transformer\.h\.1\.mlp\.c_fc\.weight"):
        LM.load(str(folder))


@pytest.mark.parametrize("kind", ["config.json", "tokenizer_config.json"])
def test_code_in_a_folder_is_never_run(folder, kind, monkeypatch):
    ran = folder / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')")
    names = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoTokenizer": ["own.T", None]}
    edit(folder / kind, auto_map=names, **({"model_type": "unheard"} if kind == "config.json" else {"tokenizer_class": "Own"}))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked") or "y")
    if kind == "config.json":
        with pytest.raises(DasError, match="own code is never run"):
            LM.load(str(folder))
    else:  # a tokenizer that is called by another name is read without its code, or not at all
        with suppress(DasError):
            LM.load(str(folder))
    assert not ran.exists()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*")
def test_an_adapter_that_fits_nothing_is_refused(folder, tmp_path):
    from das.network.adapter import WEIGHTS, merged

    place = tmp_path / "adapter"
    lora(gpt2()).save_pretrained(place)
    merged(gpt2(), place)
    save_file({f"other.{k}": v for k, v in load_file(place / WEIGHTS).items()}, place / WEIGHTS)
    with pytest.raises(DasError, match="does not fit its network"):
        merged(gpt2(), place)


# --- before weights are loaded ---

WORDS = [*"uvwxyz"]
CLOSED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "yes", "no", "?", *WORDS]


def same(p, q):
    return p == q


def answer(same):
    return same


def task(template):
    model = CausalModel(same, answer, inputs={name: Choice(WORDS) for name in "pqr"})
    return Task(Prompt(template, {True: " yes", False: " no"}), {"h": Hypothesis(model, "same")}, positions=("q.last", "last"))


def encoder(mask=True, **options):
    tokenizer = make_tokenizer([" ".join(WORDS) + " yes no ?"])
    if mask:
        tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    sizes = architectures.WIDE | {"vocab_size": len(tokenizer)} | options
    return LM(BertForMaskedLM(BertConfig(**sizes, architectures=["BertForMaskedLM"])), tokenizer)


def decoder(**options):
    tokenizer = make_tokenizer([" ".join(WORDS) + " yes no ?"])
    config = {"vocab_size": len(tokenizer), "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16, "bos_token_id": 2}
    return LM(GPT2LMHeadModel(GPT2Config(**config | options)), tokenizer)


@pytest.mark.parametrize(("text", "count"), [("{p} {q} {r} ?", "none"), ("{p} {q} {r} [MASK] ? [MASK]", "2")])
def test_an_encoder_needs_one_mask(text, count):
    with pytest.raises(DasError, match=f"in place of a mask, and this prompt has {count}"):
        Experiment(task(text), encoder())
    Experiment(task("{p} {q} {r} ? [MASK]"), encoder())


@pytest.mark.parametrize(
    ("lm", "message"),
    [
        (lambda: decoder(n_positions=4), "a prompt has 5 tokens, and this network takes 4"),
        (lambda: decoder(vocab_size=6), "this network knows tokens 0 to 5"),
    ],
)
def test_limits_are_held_before_weights_are_loaded(lm, message):
    with pytest.raises(DasError, match=message):
        Experiment(task("{p} {q} {r} ?"), lm())


def test_positions_that_count_from_the_padding_leave_room_for_fewer_tokens():
    from transformers import RobertaConfig

    from das.network.limits import check_limits

    tokenizer, asked = encoder().tokenizer, Encoded(np.full((1, 10), 3), np.array([10]))
    check_limits(RobertaConfig(pad_token_id=1, max_position_embeddings=12), asked, np.array([3]), tokenizer)
    with pytest.raises(DasError, match="this network takes 9"):
        check_limits(RobertaConfig(pad_token_id=1, max_position_embeddings=11), asked, np.array([3]), tokenizer)


# --- tokenizers that close a prompt ---


def test_a_prompt_that_the_tokenizer_closes_ends_with_its_text():
    words = CLOSED
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    asked, text = task("{p} {q} {r} ? [MASK]"), "u v w ? [MASK]"
    asked.check(tokenizer)
    assert answer_token(tokenizer, text, " no") == words.index("no")
    rendered = asked.prompt.render({name: np.array(["u"]) for name in "pqr"})
    found = encode(rendered, tokenizer, ["last", "last-1", "last+1", "r"])
    tokens = {name: words[found.ids[0, at[0, 0]]] for name, at in found.positions.items()}
    assert tokens == {"last": "[MASK]", "last-1": "?", "last+1": "[SEP]", "r": "u"}


def test_an_encoder_with_its_own_tokenizer_is_swapped_where_it_answers():
    words = CLOSED
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    lm = LM(BertForMaskedLM(BertConfig(**architectures.WIDE | {"vocab_size": len(words), "pad_token_id": 0})), tokenizer)
    asked = task("{p} {q} {r} ? [MASK]")
    base, source = (asked.encode(asked.model.sample(np.random.default_rng(i), 4), tokenizer, ["last"]) for i in (0, 1))
    engine, spot = make_engine(lm, prompts=base), ("block_output", 1)
    clean, other = engine.capture(base, [spot]), engine.capture(source, [spot])
    columns = torch.from_numpy(base.positions["last"])
    swapped = engine.resume(clean, spot, columns, other.at(spot, columns)[None])[0]
    torch.testing.assert_close(swapped, other.logits, rtol=1e-4, atol=1e-5)


def test_a_resumed_network_stays_resumed_when_its_prompts_are_given():
    assert isinstance(make_engine(LM(gpt2(), None), prompts=architectures.prompts()), ResumeEngine)


def test_answers_that_are_nothing_but_rounding_are_no_fault():
    assert apart(torch.full((2, 5), 3e-13), torch.zeros(2, 5)) < 1e-6
    assert apart(torch.tensor([[0.0, 2e-5]]), torch.tensor([[0.0, 1e-5]])) == pytest.approx(1)
    assert apart(torch.tensor([[float("nan"), 0.0]]), torch.zeros(1, 2)) == float("inf")
