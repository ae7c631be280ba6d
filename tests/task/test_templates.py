"""Prompts of several templates, of computed fields, and with positions that a variable says: each prompt has its own."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import das
from das import CausalModel, Choice, Context, DasError, FewShot, Hypothesis, Inputs, Prompt, Range, Reword, Task, scalar
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.feature import Whole
from das.network.lm import LM
from das.network.site import Site
from das.task.tokenizer import make_tokenizer

PEOPLE = [f"{letter}o" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
CITIES, TONGUES = ["Rome", "Paris", "Berlin", "Madrid"], ["Italian", "French", "German", "Spanish"]
WORDS = {
    "city": ["{person} was born in", "the birthplace of {person} is"],
    "tongue": ["{person} speaks", "the mother tongue of {person} is"],
}
TOKENIZER = make_tokenizer(
    [" ".join(PEOPLE + CITIES + TONGUES) + " was born in the birthplace of is speaks mother tongue city well ,"]
)


@scalar
def country(person):
    return PEOPLE.index(person) % 4


@scalar
def said(country, relation):
    return (CITIES if relation == "city" else TONGUES)[country]


FACTS = CausalModel(country, said, inputs={"person": Choice(PEOPLE), "relation": Choice(list(WORDS))})


def facts(template=WORDS, by="relation", positions=("person", "last"), **more):
    return Task(Prompt(template, " {}".format, by=by, **more), {"country": Hypothesis(FACTS, "country")}, positions)


def at(task, inputs, position):
    """What stands at a position of each prompt."""
    found = task.encode(inputs, TOKENIZER, [position])
    return [TOKENIZER.decode(ids[columns]) for ids, columns in zip(found.ids, found.positions[position], strict=True)]


# --- several templates ---


def test_the_value_of_a_variable_chooses_the_template_and_positions_are_found_in_each():
    task = facts()
    drawn = FACTS.sample(np.random.default_rng(0), 200)
    used = set()
    for text, person, relation in zip(task.render(drawn).texts, drawn["person"], drawn["relation"], strict=True):
        used.add(template := text.replace(person, "{person}"))
        assert template in WORDS[relation]
    assert used == {template for some in WORDS.values() for template in some}
    assert at(task, drawn, "person") == drawn["person"].tolist()
    assert set(at(task, drawn, "last")) == {"in", "is", "speaks"}
    task.check(TOKENIZER)


def test_a_setting_is_written_by_one_template_whatever_stands_beside_it_and_in_every_process():
    every = FACTS.enumerate()
    together = facts().render(every).texts
    alone = [facts().render({name: column[[row]] for name, column in every.items()}).texts[0] for row in range(len(together))]
    assert alone == together
    assert facts().render(FACTS.run(every)).texts == together
    assert facts().render({"person": np.array(["Ao", "Go", "Ho"]), "relation": np.array(["city"] * 3)}).texts == [
        "Ao was born in", "the birthplace of Go is", "the birthplace of Ho is",
    ]  # fmt: skip


def test_what_is_drawn_goes_with_no_value():
    even = Inputs({"n": Range(0, 1999)}).enumerate()
    ends = np.array([text[-1] for text in Prompt(["{n} a", "{n} b", "{n} c"], str).render(even).texts])
    for parity in (0, 1):
        shares = [(ends[even["n"] % 2 == parity] == end).mean() for end in "abc"]
        assert max(abs(share - 1 / 3) for share in shares) < 0.06


def test_a_template_may_be_an_input_and_then_every_setting_has_every_template():
    more = CausalModel(country, said, inputs=FACTS.inputs.domains | {"words": Choice([0, 1])})
    prompt = Prompt({0: "{relation} of {person} is", 1: "{person} {relation} is"}, " {}".format, by="words")
    task = Task(prompt, {"country": Hypothesis(more, "country")})
    assert len(set(task.render(more.enumerate()).texts)) == more.size == 2 * 2 * len(PEOPLE)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (Context("well ,", "before"), lambda text: f"well , {text}"),
        (Context("well", "after"), lambda text: f"{text} well"),
        (Context(["well", ","], "before"), lambda text: text),
        (Reword({"tongue": "birthplace"}), lambda text: text.replace("tongue", "birthplace")),
        (FewShot(1), lambda text: text),
    ],
)
def test_a_shift_changes_every_template_and_keeps_the_choice(change, wanted):
    task, drawn = facts(), FACTS.sample(np.random.default_rng(1), 60)
    shifted = task.under(change)
    pairs = zip(shifted.render(drawn).texts, task.render(drawn).texts, strict=True)
    assert all(new.endswith(wanted(old)) for new, old in pairs)
    assert at(shifted, drawn, "person") == drawn["person"].tolist()


def test_a_drawn_prompt_of_each_template_is_shown():
    shown = facts().show(TOKENIZER)
    assert [shown.count(words) for words in ("was born", "birthplace", "speaks⟧\n", "mother")] == [1, 1, 1, 1]


# --- fields that are computed, or empty ---


def test_a_field_may_be_computed_from_variables_and_may_choose_the_template():
    words = {True: "{person} is {article} {adjective}", False: "{adjective} {person}"}
    functions = {
        "article": lambda adjective: "an" if adjective[0] in "aeiou" else "a",
        "long": lambda adjective: len(adjective) < 4,
    }
    prompt = Prompt(words, str, by="long", computed=functions)
    assert prompt.fields == ["person", "adjective"]
    columns = {"person": np.array(["Ao", "Bo", "Co"]), "adjective": np.array(["odd", "bad", "famous"])}
    rendered = prompt.render(columns)
    assert rendered.texts == ["Ao is an odd", "Bo is a bad", "famous Co"]
    assert rendered.spans["article"].tolist() == [[6, 8], [6, 7], [-1, -1]]
    with pytest.raises(DasError, match="computed field 'long' is a variable of the causal model"):
        prompt.render(columns | {"long": np.array([1, 2, 3])})


def test_a_field_may_be_empty_where_nobody_asks_for_its_position():
    model = CausalModel(country, said, inputs=FACTS.inputs.domains | {"aside": Choice(["", "well , "])})
    task = Task(Prompt("{aside}{person} speaks {relation}", " {}".format), {"c": Hypothesis(model, "country")})
    task.check(TOKENIZER, ["person", "last"])
    with pytest.raises(DasError, match="field 'aside' vanishes"):
        task.check(TOKENIZER, ["aside.last"])


# --- a position that a variable says ---

LETTERS, COLOURS = list("PQRSTUVW"), ["red", "blue", "green", "white"]
OPTIONS = "".join(f"{{s{i}}} . {{c{i}}} \n" for i in range(3))


def apart(s0, s1, s2):
    return (s0 != s1) & (s0 != s2) & (s1 != s2)


def hued(c0, c1, c2, colour):
    return (c0 != c1) & (c0 != c2) & (c1 != c2) & ((colour == c0) | (colour == c1) | (colour == c2))


@scalar
def pointer(colour, c0, c1, c2):
    return [c0, c1, c2].index(colour)


@scalar
def letter(pointer, s0, s1, s2):
    return [s0, s1, s2][pointer]


DOMAINS = (
    {"colour": Choice(COLOURS)} | {f"s{i}": Choice(LETTERS) for i in range(3)} | {f"c{i}": Choice(COLOURS) for i in range(3)}
)
CHOICE = CausalModel(pointer, letter, inputs=Inputs(DOMAINS, where=[apart, hued]))
RIGHT = {"right": lambda pointer: f"s{pointer}", "hue": lambda pointer: f"c{pointer}"}
EXAM = Task(
    Prompt({True: "Which is {colour} ? \n" + OPTIONS + "It is", False: OPTIONS + "{colour} is"}, " {}".format, by="asked",
           computed={"asked": lambda colour: colour < "g"}, positions=RIGHT),
    {"pointer": Hypothesis(CHOICE, "pointer")}, positions=("right", "hue+1", "last"),
)  # fmt: skip
EXAM_TOKENIZER = make_tokenizer([" ".join(LETTERS + COLOURS) + " Which is ? \n . It is well ,"])


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(EXAM_TOKENIZER), max_position_embeddings=64, **size))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return LM(model, EXAM_TOKENIZER)


def test_a_position_lies_where_a_variable_says_in_each_prompt():
    drawn = CHOICE.sample(np.random.default_rng(0), 100)
    found = EXAM.encode(drawn, EXAM_TOKENIZER, ["right", "hue+1", "right-1"])
    stands = {name: [EXAM_TOKENIZER.decode(ids[c]) for ids, c in zip(found.ids, columns, strict=True)]
              for name, columns in found.positions.items()}  # fmt: skip
    assert stands["right"] == CHOICE.run(drawn)["letter"].tolist()
    assert set(stands["hue+1"]) == {"\n"}
    assert len(set((found.positions["right"][:, 0] - found.width + found.lengths).tolist())) > 3
    EXAM.check(EXAM_TOKENIZER)
    moved = EXAM.under({"context": "well ,", "where": "before"}).encode(drawn, EXAM_TOKENIZER, ["right"])
    assert moved.positions["right"].tolist() == (found.positions["right"] + 2).tolist()


def test_a_swap_at_such_a_position_is_that_of_a_hook_by_hand(lm):
    drawn = CHOICE.sample(np.random.default_rng(3), 24)
    base, source = ({name: column[some].tolist() for name, column in drawn.items()} for some in (slice(12), slice(12, None)))
    mine = das.apply(lm, Alignment(Cell("pointer", Site(1, "right"), Fixed(1)), Whole()), base, source, task=EXAM)
    texts = EXAM.render(drawn).texts
    right = CHOICE.run(drawn)["letter"].tolist()
    ids = [EXAM_TOKENIZER(text, return_tensors="pt").input_ids for text in texts]
    place = [row[0].tolist().index(EXAM_TOKENIZER.convert_tokens_to_ids(mark)) for row, mark in zip(ids, right, strict=True)]
    assert any(place[row] != place[row + 12] for row in range(12))
    for row in range(12):
        taken = lm.model(ids[row + 12], output_hidden_states=True).hidden_states[2][:, place[row + 12]]

        def put(module, args, output, row=row, taken=taken):
            states = output[0] if isinstance(output, tuple) else output
            states[:, place[row]] = taken

        hook = lm.model.model.layers[1].register_forward_hook(put)
        wanted = lm.model(ids[row]).logits[0, -1]
        hook.remove()
        assert torch.allclose(mine.logits["after"][row], wanted, atol=1e-4)
    assert mine.expected.texts == [f" {mark}" for mark in CHOICE.interchange(base, {"pointer": source})["letter"]]


def test_places_of_a_site_that_meet_in_some_prompt_are_refused(lm):
    with pytest.raises(DasError, match=r"share a token in \d+ of 200 prompts"):
        das.Experiment(EXAM, lm, layers=[0], positions=["right+s1"], train_pairs=20, val_pairs=20, test_pairs=20)


# --- what is wrong is one error ---


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Prompt([], str), "the template is []: expected a text"),
        (lambda: Prompt({}, str, by="a"), "the template is {}: expected a text"),
        (lambda: Prompt({"a": 3}, str, by="x"), "the template for 'a' is 3"),
        (lambda: Prompt({"a": "x"}, str), "say of which one, by='<variable>'"),
        (lambda: Prompt(["a", "b"], str, by="x"), "give a mapping from values to templates"),
        (lambda: Prompt("{a}", str, by="x"), "give a mapping from values to templates"),
        (lambda: Prompt("{a}", str, computed={"a": "b"}), "computed field 'a' is 'b': expected a function"),
        (lambda: Prompt("{a}", str, positions=[1]), "expected a mapping from names to functions"),
        (lambda: Prompt("{a}", str, positions={"a": str}), "a position cannot be called 'a'"),
        (lambda: Prompt("{a}", str, positions={"last": str}), "a position cannot be called 'last'"),
        (lambda: facts(by="relatoin"), "input 'relation' is not a field"),
        (lambda: facts({"city": "{person} is"}).check(TOKENIZER), "there is none where relation is 'tongue'"),
        (lambda: facts(["{person} is {relation}", "the {relation} is"], None).check(TOKENIZER),
         "there is no 'person' in 'the city is': choose positions that every prompt has"),
        (lambda: facts(positions=["country"]).check(TOKENIZER), "the prompt does not write 'country'. Say by a function of variables at which"),
        (lambda: facts(positions=["p"]).check(TOKENIZER), "unknown field in position 'p'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_prompt_is_one_error(made, said):
    with pytest.raises(DasError) as error:
        made()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda country: f"s{country}", "unknown field at which position 'p' lies"),
        (lambda country: ["person"], "unknown field at which position 'p' lies"),
        (lambda nation: "person", "unknown field of the template 'nation'"),
        (lambda country: 1 / 0, "position 'p' failed on (2,) with ZeroDivisionError"),
    ],
)
def test_a_function_that_names_no_field_is_one_error(function, said):
    with pytest.raises(DasError) as error:
        Prompt("{person} is", str, positions={"p": function}).render(FACTS.run({"person": ["Co"], "relation": ["city"]}))
    assert said in str(error.value)


def test_a_set_has_no_order_to_be_written_in():
    with pytest.raises(DasError, match=r"field \{a\} writes a set"):
        Prompt("{a}", str).render({"a": np.array([frozenset("xy")], object)})


def test_templates_after_which_an_answer_is_other_tokens_are_refused():
    words = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(["[UNK]", "is", ":", "a", "b", "##yes", "yes", "##no", "no"])})
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[UNK]")

    def same(x):
        return x == "a"

    model = CausalModel(same, inputs={"x": Choice(["a", "b"])})
    for end in (" :", ""):
        prompt = Prompt({"a": "{x} :", "b": "{x} is" + end}, {True: "yes", False: "no"}, by="x")
        task = Task(prompt, {"same": Hypothesis(model, "x")})
        if end:
            task.check(pieces)
        else:
            with pytest.raises(DasError, match=r"is other tokens after 'b is' than after 'a :': let all templates end alike"):
                task.check(pieces)
