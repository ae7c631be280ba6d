"""Answers in tokens: forms, what tells answers apart, and numbers that are near enough."""

import re

import numpy as np
import pytest

from das import CausalModel, Hypothesis, Prompt, Range, Task
from das.errors import DasError
from das.task.answers import OneToken, Spelled
from das.task.asked import ask
from das.task.spelling import number_in, spelled
from das.task.tokenizer import make_tokenizer
from das.task.variant import Variant

TOKENIZER = make_tokenizer(["a : yes no Yes maybe sir . 0123456789 12 -"])


def ids(*words):
    return tuple(TOKENIZER.convert_tokens_to_ids(list(words)))


def read(*said, **how):
    return spelled([tuple(texts) for texts in said], "a :", TOKENIZER, **how)


def test_answers_of_one_token_go_by_it():
    answers, numbers = read([" yes"], [" no"], [" yes"])
    assert answers == OneToken()
    assert numbers.tolist() == [*ids("yes", "no"), *ids("yes")]


def test_answers_of_several_tokens_have_all_of_them_and_share_the_first():
    answers, numbers = read([" 12."], [" 1."], [" 15."])
    assert isinstance(answers, Spelled)
    assert [answers.forms[n] for n in numbers] == [(ids("1", "2", "."),), (ids("1", "."),), (ids("1", "5", "."),)]
    assert answers.beginnings(numbers)[:, 0].tolist() == [[*ids("1", "2")], [*ids("1"), 0], [*ids("1", "5")]]


def test_a_form_that_only_goes_on_where_another_ends_adds_nothing():
    answers, numbers = read([" yes sir", " yes", " Yes"], [" no"])
    assert answers.forms[numbers[0]] == (ids("yes"), ids("Yes"))


def test_where_one_answer_begins_another_all_must_end_before_a_token_by_which_answers_go_on():
    answers, numbers = read([" 1"], [" 12"], [" 40"])
    assert [answers.forms[n] for n in numbers] == [(ids("1"),), (ids("1", "2"),), (ids("4", "0"),)]
    assert answers.on == tuple(sorted(ids("0", "2")))
    for one, said, right in [
        (0, ("1", "."), True), (0, ("1", "2"), False), (0, ("1", "0"), False), (0, ("1", "7"), True), (0, ("4", "."), False),
        (1, ("1", "2", "a"), True), (1, ("1", "2", "2"), False), (1, ("1", "."), False), (2, ("4", "0", "yes"), True),
    ]:  # fmt: skip
        behind = np.array([[*ids(*said), 0, 0][:3]])
        assert answers.right(behind, numbers[[one]]).tolist() == [right]
    assert read([" 1"], [" 2"])[0] == OneToken()
    assert read([" 1"], [" 2"], known=[(" 12",)])[0].on == ids("2")
    assert [set(f) for f in read([" yes sir", " yes"], [" no"], [" no sir"])[0].forms][-1] == {ids("yes"), ids("yes", "sir")}


def test_what_makes_the_last_number_or_word_longer_goes_on_too_whatever_answers_there_are():
    """In a vocabulary of pieces, where ` 12` and `34` are tokens of their own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["Ġ1", "Ġ12", "2", "7", "34", "Ġ7", "st", "Ġ", ".", "Ġa", "Ġab", "b", ":", "B"]
    alphabet = [c for c in pre_tokenizers.ByteLevel.alphabet() if c not in pieces]
    made = Tokenizer(models.BPE({p: i for i, p in enumerate([*pieces, *alphabet])}, [("Ġ", "1"), ("Ġ", "a")]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    answers, _ = spelled([(" 1",), (" 12",)], " a:", tokenizer)
    on = {tokenizer.convert_ids_to_tokens(t) for t in answers.on}
    assert {"2", "7", "34", "0"} <= on
    assert not on & {"Ġ7", "st", ".", "Ġ", "Ġ1", "b", "B", "Ċ"}
    words = {tokenizer.convert_ids_to_tokens(t) for t in spelled([(" a",), (" ab",)], ":", tokenizer)[0].on}
    assert {"b", "B", "st"} <= words
    assert not words & {"2", "Ġ7", "Ġab", "."}


@pytest.mark.parametrize(
    ("said", "how", "words"),
    [
        ([[" yes", " no"], [" no"]], {}, "' no' is a form of two answers"),
        ([[" 1 2"], [" 12"]], {}, "' are the same token(s)"),
        ([[" 12."], [" 15."]], {"first_token": True}, "' are the same token(s)"),
        ([[" yes"]], {"tolerance": 1.0}, "answer ' yes' holds no numbers"),
        ([[" 1-2"]], {"tolerance": 1.0}, "answer ' 1-2' holds 2 numbers"),
        ([[f" {n:03d}"] for n in range(100)], {"tolerance": 50.0}, "lie within the tolerance 50"),
    ],
)
def test_what_cannot_be_told_apart_or_compared_is_one_clear_error(said, how, words):
    with pytest.raises(DasError, match=re.escape(words)):
        read(*said, **how)


def test_the_first_token_is_enough_where_it_is_asked_for():
    answers, numbers = read([" yes sir"], [" no sir"], first_token=True)
    assert answers == OneToken()
    assert tuple(numbers) == ids("yes", "no")


def test_within_a_tolerance_the_texts_of_near_outputs_are_right():
    answers, numbers = read([" 10"], [" 11"], [" 20"], tolerance=1.0, known=[(" 12",), (" 21",)])
    forms = [set(answers.forms[n]) for n in numbers]
    assert forms == [
        {ids("1", "0"), ids("1", "1")},
        {ids("1", "0"), ids("1", "1"), ids("1", "2")},
        {ids("2", "0"), ids("2", "1")},
    ]
    assert [answers.forms[n][0] for n in numbers] == [ids("1", "0"), ids("1", "1"), ids("2", "0")]


@pytest.mark.parametrize(
    ("text", "value"), [(" 12.", 12), (" -0.5", -0.5), (" $1,250.75", 1250.75), ("−3", -3), (" 1e-3", 0.001)]
)
def test_a_text_holds_its_number(text, value):
    assert number_in(text) == value


def test_what_was_said_is_right_in_any_form():
    answers, numbers = read([" 12.", " no"], [" 15."])
    said = np.zeros((2 * answers.slots, answers.steps), np.int64)
    said = said.reshape(2, answers.slots, answers.steps)
    slot, form = answers.slot[numbers[0]], [*ids("1", "2", ".")]
    said[0, slot[0]] = form
    assert answers.right(said.reshape(-1, answers.steps), numbers).tolist() == [True, False]
    said[0] = 0
    said[0, slot[1], 0] = ids("no")[0]
    assert answers.right(said.reshape(-1, answers.steps), numbers).tolist() == [True, False]


def test_forms_reach_a_task_from_its_prompt():
    def same(x, y):
        return x == y

    def said(same):
        return same

    model = CausalModel(same, said, inputs={"x": Range(0, 3), "y": Range(0, 3)})
    prompt = Prompt("a {x} {y} :", {True: [" yes", " Yes"], False: [" no"]})
    Task(prompt, {"same": Hypothesis(model, "same")}).check(TOKENIZER)
    asked = ask(Variant(prompt, model.inputs, model), {"x": np.array([1, 2]), "y": np.array([1, 3])}, TOKENIZER)
    assert [set(asked.answers.forms[n]) for n in asked.numbers] == [{ids("yes"), ids("Yes")}, {ids("no")}]
    assert asked.prompts.tail == 0
    with pytest.raises(DasError, match="is a form of two answers"):
        Task(Prompt("a {x} {y} :", {True: " yes", False: [" no", " yes"]}), {"same": Hypothesis(model, "same")}).check(
            TOKENIZER
        )


def test_a_list_that_holds_no_text_is_no_answer():
    for wrong in ([], [" yes", 3], 5):
        with pytest.raises(DasError, match="expected a text, or a list of them"):
            Prompt("a {x}", {True: wrong})
