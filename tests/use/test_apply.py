"""An alignment on prompts of one's own: as the run's own pairs were scored, as a hook by hand, or a clear error."""

import json
from functools import cache
from shutil import copytree

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import das
from das import DasError, Experiment, Run, Substring
from das.cli import main
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.ground.storage import read_table
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.task.tokenizer import make_tokenizer
from das.use.apply import swapper

SETTINGS = {
    "layers": [1], "positions": ["c.last", "last"], "steps": 20, "batch": 30, "check_every": 4, "chosen_seeds": 1, "closed_forms": [], "logger": "none",
    "train_pairs": 60, "val_pairs": 30, "test_pairs": 40, "threads": 1, "subspace": "nested:k=16",
}  # fmt: skip
BASE, SOURCE = {"a": 2, "b": 3, "c": 4}, {"a": 5}
TEXT = "Compute (2 + 3) * 4 ="
ONE = '"left_product": Hypothesis(multiply_first, "left_part")'
TASK = (ROOT / "tasks" / "arithmetic.py").read_text().replace(ONE, '"parts": Hypothesis(add_first, "total", "c")')


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With a hypothesis of one variable and one of two."""
    folder = tmp_path_factory.mktemp("apply")
    (folder / "sums.py").write_text(TASK)
    return Experiment(folder / "sums.py", "arithmetic-tiny", **SETTINGS).run(folder / "run")


WHOLE = Alignment(Cell("sum", Site(3, "last"), Fixed(1)), Whole())
"""Swaps everything where the answer is read."""


def own_test_pairs(run, hypothesis, variables):
    """The run's test pairs as a user would give them: values of the base, and of every variable's source."""
    table = read_table(run.folder / "pairs.parquet")
    table = table[(table["split"] == "test") & (table["hypothesis"] == hypothesis)]

    def columns(prefix):
        return {name: [int(value) for value in table[f"{prefix}.{name}"]] for name in BASE}

    return columns("base"), {v: columns(f"source.{v}") for v in variables}


def test_on_the_runs_own_test_pairs_it_scores_as_the_run_did(run):
    for name in run.found()["cell"]:
        mine = run.swapper(name)
        base, sources = own_test_pairs(run, mine.alignment.cell.hypothesis, mine.variables)
        found = mine.apply(base, sources=sources)
        assert (found.as_expected == run.hits(mine.alignment.cell)).all()


def test_the_whole_vector_where_the_answer_is_read_gives_the_sources_answer(run):
    mine = run.swapper("sum")
    found = swapper(mine.lm, WHOLE, mine.task).apply(BASE, SOURCE)
    assert torch.allclose(found.logits["after"], found.logits["source"], atol=1e-4)
    assert found.answers == {"before": ["20"], "source": ["32"], "after": ["32"]}
    assert found.flips.tolist() == found.as_expected.tolist() == [True]
    assert found.table()["expected"].tolist() == ["32"]


def test_texts_with_places_are_the_values_that_they_were_written_from(run):
    cell = next(c for c in run.found()["cell"] if c.startswith("sum") and "c.last" in c)
    texts, number = [TEXT, TEXT.replace("2", "5")], 8
    values = run.apply(cell, BASE, SOURCE)
    assert run.swapper(cell).lm.tokenizer.tokenize(texts[0])[number - 1] == "4"
    others = [
        run.apply(cell, *texts, position="4"),
        run.apply(cell, *texts, position=number),
        run.apply(cell, *texts, base_position=number, source_position="last-1"),
        run.apply(cell, [texts[0]], texts[1:], position=[Substring("* 4", "last")]),
    ]
    for found in others:
        assert found.expected is None
        assert found.places == {"before": ["4"], "source": ["4"]}
        assert torch.allclose(found.logits["after"], values.logits["after"], atol=1e-5)
    assert not torch.allclose(run.apply(cell, *texts, position=2).logits["after"], values.logits["after"], atol=1e-3)


def test_one_base_and_many_sources_are_so_many_pairs(run):
    many = {"a": [1, 9, 4]}
    found = run.apply("sum", BASE, many)
    assert len(found) == 3
    for row, value in enumerate(many["a"]):
        alone = run.apply("sum.total", BASE, {"a": value})
        assert torch.allclose(found.logits["after"][row], alone.logits["after"][0], atol=1e-4)
    assert len(run.apply("sum", [BASE, BASE | {"b": 5}], SOURCE)) == 2


def test_a_variable_without_a_source_keeps_its_value(run):
    one = run.apply("parts", BASE, sources={"total": SOURCE})
    both = run.apply("parts", BASE, sources=[SOURCE, BASE])
    assert list(one.logits) == ["before", "source.total", "after"]
    assert torch.allclose(one.logits["after"], both.logits["after"], atol=1e-4)
    everything = run.apply("parts", BASE, SOURCE | {"c": 2})
    assert list(everything.logits) == ["before", "source", "after"]
    assert everything.expected.texts == ["16"]


def test_tables_say_what_the_logits_say(run):
    found = run.apply("sum", BASE, {"a": [1, 9]})
    top, p = found.top(3), torch.softmax(found.logits["after"], -1).topk(3)
    assert np.allclose(top["p_after"], p.values.flatten())
    assert top["rank"].tolist() == [1, 2, 3] * 2
    assert found.tokenizer.convert_tokens_to_ids(top["after"].tolist()) == p.indices.flatten().tolist()
    one, other = found.tokenizer.convert_tokens_to_ids(["20", "16"])
    expected = (found.logits["before"][:, one] - found.logits["before"][:, other]).numpy()
    assert np.allclose(found.logit_difference("20", "16")["before"], expected)
    assert json.loads(json.dumps(found.plain(2)))[0]["answers"]["before"] == "20"
    assert repr(found) == found.text()
    assert "as the causal model says in" in found.text()


@pytest.mark.slow
def test_a_trained_alignment_of_two_variables_is_used_on_one_new_pair(tmp_path):
    """Likeliest tokens, the answers' logit difference and the text under the swap: as a hook by hand on the network itself."""
    small = SETTINGS | {"positions": ["last"], "layers": [2], "train_pairs": 100, "steps": 8}
    run = Experiment("price_tagging", "price-tagger-tiny", hypotheses=["left_and_right"], **small).run(tmp_path / "run")
    cell, base = run.table()["cell"][0], {"lower": 2.0, "upper": 6.0, "amount": 4.0}
    found = run.apply(cell, base, {"amount": 8.0})
    said = run.generate(cell, base, {"amount": 8.0}, tokens=1)
    loaded = Alignment.load(run.folder / "cells" / cell)
    lm, seen = LM.load("price-tagger-tiny"), []

    def hook(_module, _inputs, hidden):
        if not seen:
            seen.append(hidden[:, -1])
            return None
        change = loaded.feature.swap(hidden[:, -1], seen[0].expand(2, -1, -1))
        return torch.cat([hidden[:, :-1], (hidden[:, -1] + change)[:, None]], 1)

    ids = {name: torch.tensor([lm.tokenizer(texts[0])["input_ids"]]) for name, texts in found.prompts.items()}
    before = lm.model(ids["before"]).logits[:, -1]
    handle = lm.model.model.layers[2].register_forward_hook(hook)
    lm.model(ids["source"])
    after = lm.model(ids["before"]).logits[:, -1]
    handle.remove()
    assert torch.allclose(found.logits["before"], before, atol=1e-4)
    assert torch.allclose(found.logits["after"], after, atol=1e-4)
    assert lm.tokenizer.convert_tokens_to_ids(found.top(3)["after"].tolist()) == after.topk(3).indices[0].tolist()
    yes, no = lm.tokenizer.convert_tokens_to_ids(["Yes", "No"])
    assert np.isclose(found.logit_difference("Yes", "No")["after"][0], float(after[0, yes] - after[0, no]), atol=1e-3)
    assert said.tokens["after"] == [[int(after.argmax())]]
    assert found.expected.texts == ["No"]


# --- generation, on networks that know nothing ---

BASES = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
KINDS = {
    "llama": ("LlamaForCausalLM", BASES | {"intermediate_size": 48}, "model.layers.1"),
    "gpt2": ("GPT2LMHeadModel", BASES, "transformer.h.1"),
    "qwen2": ("Qwen2ForCausalLM", BASES | {"intermediate_size": 48, "num_key_value_heads": 2}, "model.layers.1"),
    "t5": (
        "T5ForConditionalGeneration",
        {"vocab_size": 90, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4, "decoder_start_token_id": 0},
        "encoder.block.1",
    ),
}
TEXTS = ["3.70 dollars", "Please say yes only if it costs between 2.35 and 5.00 dollars, otherwise no."]


@pytest.fixture(scope="module")
def words():
    """A tokenizer of these texts."""
    return make_tokenizer(TEXTS)


@cache
def network(kind):
    name, options, _ = KINDS[kind]
    torch.manual_seed(0)
    cls = getattr(transformers, name)
    model = cls(cls.config_class(**options | {"pad_token_id": 0, "eos_token_id": None, "bos_token_id": 2})).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False).add_(0.2 * torch.randn_like(parameter))
    return model


def alignment(**site):
    basis = random_basis(32, 4, torch.Generator().manual_seed(1))[:, None]
    return Alignment(
        Cell("own", Site(**{"layer": 1, "position": "last"} | site), Fixed(4)), Subspace(20 * basis, torch.ones(1, 4))
    )


@torch.no_grad()
def by_hand(kind, words, base, source, at, steps):
    """The tokens that follow a text with the subspace of another's token in the place of its own, by plain hooks."""
    model, path = network(kind), KINDS[kind][2]
    basis, seen = alignment().feature.basis[:, 0], {}

    def hidden(output):
        return output[0] if isinstance(output, tuple) else output

    ids, other = (torch.tensor([words(text)["input_ids"]]) for text in (base, source))
    start = {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)} if kind == "t5" else {}
    handle = model.get_submodule(path).register_forward_hook(lambda m, i, o: seen.update(source=hidden(o)[0, at[1]].clone()))
    model(input_ids=other, **start)
    handle.remove()

    def patch(_module, _inputs, output):
        new = hidden(output).clone()
        new[0, at[0]] += (seen["source"] - new[0, at[0]]) @ basis @ basis.T
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = model.get_submodule(path).register_forward_hook(patch)
    answer, logits = start.get("decoder_input_ids", ids), []
    for _ in range(steps):
        given = {"input_ids": ids, "decoder_input_ids": answer} if start else {"input_ids": answer}
        logits.append(model(**given, use_cache=False).logits[0, -1])
        answer = torch.cat([answer, logits[-1].argmax().view(1, 1)], 1)
    handle.remove()
    return answer[0, -steps:].tolist(), logits[0]


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_generated_as_a_hook_by_hand_gives_it_token_by_token(kind, words):
    lm, bases, places = LM(network(kind), words), [TEXTS[1], TEXTS[0]], {"base_position": 3, "source_position": 2}
    expected, logits = zip(*(by_hand(kind, words, base, TEXTS[0], (3, 2), 6) for base in bases), strict=True)
    answer = das.apply(lm, alignment(), bases, TEXTS[0], **places)
    assert torch.allclose(answer.logits["after"], torch.stack(logits), atol=1e-4)
    assert not torch.allclose(answer.logits["after"], answer.logits["before"], rtol=1e-2)
    for options in ({}, {"use_cache": False}):
        found = das.generate(lm, alignment(), bases, TEXTS[0], tokens=6, options=options, **places)
        assert found.tokens["after"] == list(expected)
    ids = torch.tensor([words(bases[0])["input_ids"]])
    with das.swapped(lm, alignment(), TEXTS[0], **places) as model:
        assert model.generate(ids, max_new_tokens=6, do_sample=False)[0, -6:].tolist() == expected[0]
    assert found.texts["after"][0] in repr(found)


def test_a_place_in_calls_of_ones_own_by_name_number_and_text_is_the_same(words):
    lm, ids = LM(network("llama"), words), torch.tensor([words(TEXTS[1])["input_ids"]])
    piece, count = Substring("costs"), words(TEXTS[1])["input_ids"].index(words.convert_tokens_to_ids("costs"))
    found = []
    for where in ({"base_position": count}, {"base_position": [count]}, {"base_position": count - ids.shape[1]},
                  {"base_position": f"last-{ids.shape[1] - 1 - count}"}, {"base_position": piece},
                  {"base": TEXTS[1], "base_position": "costs"}):  # fmt: skip
        with das.swapped(lm, alignment(), TEXTS[0], source_position="last", **where) as model:
            found.append(model(ids).logits)
    for logits in found[1:]:
        assert torch.equal(logits, found[0])
    assert not torch.allclose(found[0], network("llama")(ids).logits, rtol=1e-2)


@pytest.mark.parametrize("closed", [True, False])
def test_pieces_are_found_among_the_tokens_of_a_call_by_pairs_of_bytes(closed):
    own = Tokenizer(models.BPE())
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    base, alphabet = "It costs 3.70 dollars, né 4.05", pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    own.train_from_iterator([base, *TEXTS] * 9, trainer)
    if closed:
        ends = [("<s>", 1), ("</s>", 2)]
        own.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    bytes_ = transformers.PreTrainedTokenizerFast(tokenizer_object=own, pad_token="<pad>")
    options = BASES | {"vocab_size": 340, "intermediate_size": 48, "pad_token_id": 0, "eos_token_id": None}
    torch.manual_seed(0)
    lm = LM(transformers.LlamaForCausalLM(transformers.LlamaConfig(**options)), bytes_)
    ids = torch.tensor([bytes_(base)["input_ids"]])
    for pointer, there in (
        (Substring("né", "last"), "né"),
        ("costs", " costs"),
        (Substring("4.05", "last"), "05"),
        ("last", "05"),
    ):
        found = das.apply(lm, alignment(), base, TEXTS[1], base_position=pointer, source_position="last")
        assert found.places["before"][0].strip() == there.strip()
        with das.swapped(lm, alignment(), TEXTS[1], base_position=pointer, source_position="last") as model:
            assert torch.allclose(model(ids).logits[:, -1], found.logits["after"], atol=1e-4)


JOINT = {
    "two positions": {"layer": 2, "position": "c.last+last"},
    "two layers": {"layer": "1+2", "position": "last"},
    "of a head and a layer": {"layer": "2+1", "position": "last+c.last", "component": "block_output+heads.1"},
    "two from elsewhere": {"layer": 2, "position": "c.last<-last+last<-c.last"},
    "from another layer": {"layer": "3<-2", "position": "last"},
}


@cache
def joint(site):
    """An alignment that nobody trained, at several places of the shipped network, or from another one of the source."""
    lm, own = LM.load("arithmetic-tiny"), Site(**{"component": "block_output"} | JOINT[site])
    size = sum(lm.size(*place.spot) for place in own.places)
    basis = 20 * random_basis(size, 4, torch.Generator().manual_seed(1))[:, None]
    return lm, Alignment(Cell("sum", own, Fixed(4)), Subspace(basis, torch.ones(1, 4)))


@pytest.mark.parametrize("site", JOINT)
@torch.no_grad()
def test_several_places_are_swapped_alike_by_values_by_texts_and_in_calls(site):
    lm, own = joint(site)
    task, bases = das.load_task(ROOT / "tasks" / "arithmetic.py"), [BASE, BASE | {"b": 6}]
    where = {name: {"c.last": 8, "last": -1}[name] for name in own.cell.site.positions}
    values = das.apply(lm, own, bases, SOURCE, task=task)
    source, texts = "Compute (5 + 3) * 4 =", [TEXT, TEXT.replace("3", "6")]
    for row, text in enumerate(texts):
        told = das.apply(lm, own, text, source if row == 0 else source.replace("3", "6"), position=where)
        assert torch.allclose(told.logits["after"][0], values.logits["after"][row], atol=1e-4)
    said = das.generate(lm, own, bases, SOURCE, task=task, tokens=3)
    ids = torch.tensor([lm.tokenizer(text)["input_ids"] for text in texts])
    with das.swapped(lm, own, [BASE | SOURCE, BASE | SOURCE | {"b": 6}], task=task, base=bases) as model:
        assert torch.allclose(model(ids).logits[:, -1], values.logits["after"], atol=1e-4)
        found = model.generate(ids, max_new_tokens=3, do_sample=False, use_cache=False)
    assert found[:, ids.shape[1] :].tolist() == [row[:3] for row in said.tokens["after"]]
    assert not torch.allclose(values.logits["after"], values.logits["before"], atol=0.1)


def test_places_that_are_not_told_apart_are_refused():
    lm, own = joint("two positions")
    texts = (TEXT, "Compute (5 + 3) * 4 =")
    refused(lambda: das.apply(lm, own, *texts, position=3), "c.last, last", "position: {")
    refused(lambda: das.apply(lm, own, *texts, position={"c": 3}), "unknown position", "c.last, last")
    refused(lambda: das.apply(lm, own, *texts, position={"last": 3}), "c.last", "position (--position")
    refused(lambda: das.apply(lm, own, *texts, position={"c.last": -1}), "share a token")
    refused(lambda: das.apply(lm, own, *texts, position={"c.last": "* 4"}), "cover")
    two = Alignment(joint("two from elsewhere")[1].cell, Whole(2))
    refused(lambda: das.apply(lm, two, TEXT, sources={"1": TEXT}), "every variable a source")


def test_a_network_that_takes_no_text_is_swapped_between_values_of_its_task():
    equality = das.load_task(ROOT / "tasks" / "equality.py")
    torch.manual_seed(0)
    net = das.Net(torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)))
    drawn = equality.model.sample(np.random.default_rng(0), 2)
    base, source = ({name: column[i : i + 1] for name, column in drawn.items()} for i in (0, 1))
    own = swapper(net, Alignment(Cell("both", Site(1, "last"), Fixed(1)), Whole(2)), equality)
    found, clean = own.apply(base, source), net.logits(equality.encode(drawn, None, ["last"]))
    assert torch.allclose(torch.cat([found.logits["before"], found.logits["source"]]), clean)
    assert torch.allclose(found.logits["after"], clean[1:], atol=1e-5)
    assert found.expected.texts == equality.prompt.answer_texts(equality.model.run(source)["same"])
    one, other = ({name: column[0] for name, column in values.items()} for values in (base, source))
    assert torch.equal(own.apply(one, other | {"a": other["a"].tolist()}).logits["after"], found.logits["after"])
    assert "before" in repr(found)
    refused(lambda: own.apply(one | {"a": [1.0, 2.0]}, other), "expected a vector of shape (4,)")
    refused(lambda: own.apply(one | {"a": [[1.0], 2.0]}, other), "a vector of shape (4,)")
    refused(lambda: own.generate(base, source), "puts none")
    refused(lambda: own.swapped(source).__enter__(), "takes tensors")


# --- what is refused ---


def refused(action, *why):
    with pytest.raises(DasError) as error:
        action()
    assert all(part in str(error.value) for part in why), str(error.value)
    assert "\n" not in str(error.value)


def test_what_does_not_say_where_or_what_is_refused(run):
    cell = next(c for c in run.found()["cell"] if c.startswith("sum") and "c.last" in c)
    refused(lambda: run.apply("sun", BASE, SOURCE), "did you mean 'sum'")
    refused(lambda: run.apply("../cells", BASE, SOURCE), "unknown cell")
    refused(lambda: run.apply(cell, BASE), "expected a source")
    refused(lambda: run.apply(cell, BASE, {"d": 1}), "unknown input")
    refused(lambda: run.apply(cell, BASE, {"a": 100}), "expected a value")
    refused(lambda: run.apply(cell, TEXT, TEXT), "c.last", "position (--position")
    refused(lambda: run.apply(cell, TEXT, TEXT, position="c.last"), "is a text")
    refused(lambda: run.apply(cell, TEXT + " 4", TEXT, position="4"), "2 times")
    refused(lambda: run.apply(cell, TEXT, TEXT, position="* 4"), "covers 2 tokens", "swaps 1")
    refused(lambda: run.apply(cell, TEXT, TEXT, positoin=3), "did you mean 'position'")
    refused(lambda: run.apply(cell, "4 + " * 600, TEXT, position=3), "tokens, and this network takes")
    refused(lambda: run.apply(cell, "", TEXT, position=3), "empty")
    refused(lambda: run.apply("parts", BASE, sources={"totl": SOURCE}), "did you mean 'total'")
    refused(lambda: run.generate(cell, BASE, SOURCE, tokens=5000), "do not fit")
    refused(lambda: run.swapped(cell, SOURCE | BASE).__enter__(), "say where that is in calls")


def test_a_network_of_another_shape_is_refused(run, words):
    lm = LM(network("llama"), words)
    folder = run.folder / "cells" / run.table()["cell"][0]
    refused(lambda: das.apply(lm, folder, *TEXTS, position=3), "vectors of 32 entries")
    refused(lambda: das.apply(lm, alignment(layer=7), *TEXTS), "layers 0 to 2")
    refused(lambda: das.apply(lm, alignment(component="heads.9"), *TEXTS), "heads 0 to 3")


def test_logits_that_are_no_numbers_are_said(words):
    broken = transformers.LlamaForCausalLM(network("llama").config)
    broken.lm_head.weight.data[3] = float("inf")
    refused(lambda: das.apply(LM(broken, words), alignment(), *TEXTS), "not finite")


def test_a_task_that_was_edited_since_is_refused_or_warned_of(run, tmp_path):
    edited = tmp_path / "sums.py"
    edited.write_text(TASK.replace("return a + b", "return a + b + 1"))
    with pytest.warns(UserWarning, match="mechanism 'total'"):
        run.swapper("sum", task=str(edited))
    moved = copytree(run.folder.parent, tmp_path / "moved")
    (moved / "sums.py").write_text(edited.read_text())
    refused(lambda: Run.open(moved / "run").apply("sum", BASE, SOURCE), "changed since", "task=")


# --- the command ---


def test_the_command_tells_what_the_function_does(run, capsys):
    words = ["apply", str(run.folder), "sum", "{a: 2, b: 3, c: 4}", "--source", "{a: 5}"]
    assert main([*words, "--top", "2", "--generate", "1"]) == 0
    said = capsys.readouterr().out
    assert run.apply("sum", BASE, SOURCE).text(2) in said
    assert run.generate("sum", BASE, SOURCE, tokens=1).text() in said
    assert main([*words, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"][0]["answers"]["before"] == "20"
    assert main(["apply", str(run.folder), "sum", TEXT, "--source", TEXT, "--position", "* 4", "--token", "last"]) == 0
    assert "at '4' of" in capsys.readouterr().out
