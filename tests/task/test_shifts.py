"""Shifts: what each does to a prompt, how they compose, how they are written as plain data."""

import re

import numpy as np
import pytest
from conftest import ROOT

from das import (
    CausalModel,
    Chat,
    Context,
    DasError,
    FewShot,
    Given,
    Hypothesis,
    Inputs,
    Offset,
    Prompt,
    Range,
    Reword,
    Shift,
    Task,
    load_task,
)
from das.network.source import load_tokenizer
from das.task.encoded import encode
from das.task.plain_shifts import named_shifts, parse_shift


def larger(a, b):
    return a > b


def told(larger):
    return larger


MODEL = CausalModel(larger, told, inputs={"a": Range(0, 9), "b": Range(0, 9)})
ANSWERS = {True: " yes", False: " no"}
TASK = Task(
    Prompt("Read {{this}}.\nIs {a} more than {b}, {b} less?\nAnswer:", ANSWERS),
    {"larger": Hypothesis(MODEL, "larger")},
    shifts={"polite": Reword({"Is": "Please, is"}), "ranges": Given({"a": [1, 2]})},
)
ROW = {"a": np.array([3]), "b": np.array([7])}


def text(change, row=ROW, tokenizer=None):
    variant = TASK.variant(change, tokenizer)
    return variant.prompt.render(MODEL.run(row)).texts[0]


PLAIN = "Read {this}.\nIs 3 more than 7, 7 less?\nAnswer:"

WRITTEN = {
    "whole prompt": (Shift(prompt=Prompt("{a} or {b}?", ANSWERS)), "3 or 7?"),
    "before": (Context("Frogs sing.", "before"), "Frogs sing. " + PLAIN),
    "inside": (Context("Frogs {sing}."), PLAIN.replace("Is", "Frogs {sing}. Is")),
    "after": (Context("Frogs sing.", "after"), PLAIN.replace("less?", "less? Frogs sing.")),
    "before a text": (Context("Frogs sing.", "Answer"), PLAIN.replace("Answer", "Frogs sing. Answer")),
    "with its own space": (Context("Frogs.\n"), PLAIN.replace("Is", "Frogs.\nIs")),
    "reworded": (Reword({"more than": "over", "less": "under"}), PLAIN.replace("more than", "over").replace("less", "under")),
    "two words change places": (Reword({"more": "less", "less": "more"}), "Read {this}.\nIs 3 less than 7, 7 more?\nAnswer:"),
    "offset": (Offset(3), "\n\n\n" + PLAIN),
    "two": (Context("Frogs.") + Reword({"Is": "Was"}), PLAIN.replace("Is", "Frogs. Was")),
    "in either order": (Context("Frogs.") + Shift(prompt=Prompt("{a} or {b}?", ANSWERS)), "Frogs. 3 or 7?"),
    "two contexts": (Context("A.") + Context("B.", "before"), "B. " + PLAIN.replace("Is", "A. Is")),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_shift_changes_the_words_and_nothing_else(name):
    change, expected = WRITTEN[name]
    assert text(change) == expected
    variant = TASK.variant(change)
    assert variant.model is MODEL
    assert variant.inputs is MODEL.inputs


def test_spans_are_found_anew(tokenizer):
    variant = TASK.variant(Context("Frogs sing.") + Offset(2))
    rendered = variant.prompt.render(MODEL.run(ROW))
    for name, value in (("a", "3"), ("b", "7")):
        start, end = rendered.spans[name][0]
        assert rendered.texts[0][start:end] == value


def test_of_several_sentences_each_prompt_has_one_and_always_the_same():
    sentences = [f"Frog {i} sings." for i in range(5)]
    change = Context(sentences) + Context(["Up.", "Down."], "before")
    inputs = MODEL.enumerate()
    texts = TASK.variant(change).prompt.render(inputs).texts
    again = TASK.variant(change).prompt.render({name: column[::-1] for name, column in inputs.items()}).texts[::-1]
    assert texts == again
    used = [next(s for s in sentences if s in each) for each in texts]
    assert min(np.unique(used, return_counts=True)[1]) > 8
    first = ["Up." in each for each in texts]
    assert {(a, b) for a, b in zip(used, first, strict=True)} == {(s, up) for s in sentences for up in (True, False)}


def test_a_drawn_sentence_is_a_position_too(tokenizer):
    rendered = TASK.variant(Context(["Frogs sing.", "Frogs rest."])).prompt.render(ROW)
    start, end = rendered.spans["context"][0]
    assert rendered.texts[0][start:end].strip() in ("Frogs sing.", "Frogs rest.")


def test_given_inputs_have_their_values_and_the_rest_is_drawn_as_ever():
    change = Given({"a": 4}) + Given({"b": [1, 2]})
    shifted = TASK.under(change)
    drawn = shifted.model.sample(np.random.default_rng(0), 200)
    assert set(drawn["a"].tolist()) == {4}
    assert set(drawn["b"].tolist()) == {1, 2}
    assert shifted.model.size == 2
    assert TASK.model.size == 100


def test_given_inputs_keep_a_joint_sampler_and_its_constraints():
    def draw(rng, n):
        a = rng.integers(0, 5, n)
        return {"a": a, "b": a + rng.integers(1, 3, n)}

    inputs = Inputs({"a": Range(0, 9), "b": Range(0, 9)}, where=lambda a, b: a < b, draw=draw)
    task = Task(TASK.prompt, {"larger": Hypothesis(CausalModel(larger, told, inputs=inputs), "larger")})
    drawn = task.under(Given({"b": 3})).model.sample(np.random.default_rng(0), 100)
    assert set(drawn["a"].tolist()) == {0, 1, 2}


def test_examples_are_solved_and_as_evenly_answered_as_can_be():
    shown = text(FewShot(4))
    examples = shown.split("\n\n")
    assert examples[-1] == PLAIN
    assert len(examples) == 5
    assert len(set(examples)) == 5
    answers = []
    for example in examples[:-1]:
        a, b = map(int, re.search(r"Is (\d) more than (\d)", example).groups())
        assert example.endswith(" yes" if a > b else " no")
        answers.append(a > b)
    assert sum(answers) == 2
    assert text(FewShot(4)) == shown
    assert text(FewShot(4, seed=1)) != shown


def test_examples_are_written_under_the_shift_they_are_composed_with():
    shown = text(FewShot(1) + Reword({"Answer:": "So:"}, {True: " aye", False: " nay"}) + Given({"a": 0}))
    assert shown.startswith("Read {this}.\nIs 0 more than ")
    assert "So: nay\n\n" in shown


class Chatty:
    """A tokenizer's chat template, as transformers applies it."""

    chat_template = "x"

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize
        assert add_generation_prompt
        return "<s>" + "".join(f"<{m['role']}>{m['content']}</>" for m in messages) + "<assistant>"

    def __call__(self, text):
        return {"input_ids": [1, 2]}

    def decode(self, ids):
        return {1: "<s>", 2: "</s>"}[ids[0]]


def test_a_chat_wraps_the_prompt_once_and_its_answers_begin_a_reply():
    assert text(Chat(), tokenizer=Chatty()) == f"<user>{PLAIN}</><assistant>"
    assert text(Chat() + Offset(1), tokenizer=Chatty()) == f"<user>\n{PLAIN}</><assistant>"
    assert text(Chat("Be {brief}."), tokenizer=Chatty()) == f"<system>Be {{brief}}.</><user>{PLAIN}</><assistant>"
    assert TASK.variant(Chat(), Chatty()).prompt.answers == {True: "yes", False: "no"}
    called = Task(Prompt("{a} {b}:", lambda v: f" {v}"), TASK.hypotheses)
    assert called.variant(Chat(), Chatty()).prompt.answer(True) == "True"


def test_a_real_chat_template_is_tokenized_with_one_beginning(tokenizer):
    import copy

    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}Response :"
    task = load_task(ROOT / "tasks" / "price_tagging.py")
    variant = task.variant(Chat(), chatty)
    rendered = variant.prompt.render(task.model.run(task.model.sample(np.random.default_rng(0), 3)))
    encoded = encode(rendered, chatty, ["amount.last", "last"])
    assert (encoded.ids == chatty.bos_token_id).sum() <= len(rendered.texts)
    assert all(t.endswith("\nResponse :") for t in rendered.texts)


# --- plain data ---

PARSED = {
    "a name": ("polite", PLAIN.replace("Is", "Please, is")),
    "two names": ("polite + offset:2", "\n\n" + PLAIN.replace("Is", "Please, is")),
    "a context": ({"context": "Frogs."}, PLAIN.replace("Is", "Frogs. Is")),
    "everything": (
        {"of": "polite", "context": "Frogs.", "where": "after", "replace": {"Answer": "Say"}, "offset": 1},
        "\n" + PLAIN.replace("Is", "Please, is").replace("less?", "less? Frogs.").replace("Answer", "Say"),
    ),
}


@pytest.mark.parametrize("name", PARSED)
def test_shifts_are_read_from_plain_data(name):
    spec, expected = PARSED[name]
    assert text(parse_shift(spec, TASK.shifts)) == expected


def test_shifts_of_a_run_are_all_or_by_name():
    assert list(named_shifts("all", TASK.shifts)) == ["polite", "ranges"]
    assert named_shifts("polite", TASK.shifts) == {"polite": TASK.shifts["polite"]}
    assert list(named_shifts(["ranges", "few_shot:2"], TASK.shifts)) == ["ranges", "few_shot:2"]
    assert named_shifts({"mine": {"few_shot": 3}}, TASK.shifts) == {"mine": FewShot(3)}
    answers = parse_shift({"replace": {"Is": "is"}, "answers": {True: " aye", False: " nay"}, "given": {"a": 1}}, {})
    assert TASK.variant(answers).prompt.answer(True) == " aye"
    assert TASK.under(answers).model.size == 10


WRONG = {
    "unknown name": (lambda: parse_shift("polit", TASK.shifts), "unknown shift 'polit': did you mean 'polite'?"),
    "unknown key": (lambda: parse_shift({"contex": "x"}, {}), "unknown key of a shift 'contex': did you mean 'context'?"),
    "no shift": (lambda: parse_shift(3, {}), "shift 3 cannot be read"),
    "a number for a text": (lambda: parse_shift({"context": 3}, {}), "context of a shift is 3: expected str or list or tuple"),
    "a bool for an answer": (
        lambda: parse_shift({"replace": {"Is": "is"}, "answers": {True: True}}, {}),
        "words and answers are texts, not True: in YAML put them in quotes",
    ),
    "where without context": (lambda: parse_shift({"where": "after", "offset": 1}, {}), "where needs context beside it"),
    "base as a shift": (
        lambda: named_shifts({"base": "polite"}, TASK.shifts),
        "a shift cannot be called 'base' (it is the task as it stands",
    ),
    "in a mapping": (lambda: named_shifts({"mine": "polit"}, TASK.shifts), "shift 'mine': unknown shift 'polit'"),
    "no such place": (lambda: text(Context("Frogs.", "Anser")), "context where 'Anser': expected before, inside, after, or"),
    "no such words": (lambda: text(Reword({"Anser": "x"})), "'Anser' is not in the template"),
    "empty context": (lambda: Context(""), "a context is '': expected a sentence"),
    "no context": (lambda: parse_shift({"context": []}, {}), "a context is []: expected a sentence"),
    "a bool for a number": (lambda: parse_shift({"few_shot": True}, {}), "few_shot of a shift is True: expected int"),
    "a name of figures": (lambda: named_shifts({"matrix": "polite"}, TASK.shifts), "a shift cannot be called 'matrix'"),
    "one folder for two": (
        lambda: named_shifts({"a b": "polite", "a_b": "polite"}, TASK.shifts),
        "are the same as names of folders",
    ),
    "unknown input": (lambda: TASK.under(Given({"c": 1})), "unknown input to be given 'c'"),
    "no example": (lambda: FewShot(0), "few_shot is 0: expected at least 1"),
    "no offset": (lambda: Offset(0), "offset is 0: expected at least 1"),
    "no chat template": (lambda: text(Chat(), tokenizer=load_tokenizer("arithmetic-tiny")), "has no chat template"),
    "two whole prompts": (
        lambda: text(Shift(prompt=TASK.prompt) + Shift(prompt=Prompt("{a} {b}", ANSWERS))),
        "two shifts of a composition replace the whole prompt",
    ),
    "other inputs": (
        lambda: TASK.under(Shift(inputs=Inputs({"a": Range(0, 9)}))),
        "the model's inputs are a, b; given a",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_shift_says_why(name):
    make, message = WRONG[name]
    with pytest.raises(DasError, match=re.escape(message)):
        make()
