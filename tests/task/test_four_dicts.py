"""Causal models as four dicts, as pyvene, MIB and causalab write them, become tasks whose labels are those worked out by hand."""

import numpy as np
import pytest
import torch
import transformers

import das
from das import CausalModel, DasError, Hypothesis, Prompt, Task
from das.task.tokenizer import make_tokenizer

SIZES = {"train_pairs": 60, "val_pairs": 20, "test_pairs": 40}


def network(words):
    """Reads words whole and numbers digit by digit."""
    tokenizer = make_tokenizer([words])
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=2, eos_token_id=None, **shape)
    return das.LM(transformers.LlamaForCausalLM(config), tokenizer)


def pairs_of(task, lm):
    material = das.Experiment(task, lm, layers=[0], positions=["last"], **SIZES).material()
    (name,) = task.hypotheses
    return material.pairs["test"][name], material.data["test"], material.data["test"].pairs[name]


# --- a sum of two numbers of two digits, each digit of the sum a sink ---

DIGITS = list(range(10))
OWN = ["a1", "a0", "b1", "b0"]
TENS = ["a1", "b1", "carry"]
SUM = {
    "variables": [*OWN, "carry", "hundreds", "tens", "ones"],
    "values": dict.fromkeys([*OWN, "tens", "ones"], DIGITS) | {"carry": [0, 1], "hundreds": [0, 1]},
    "parents": {"carry": ["a0", "b0"], "ones": ["a0", "b0"], "tens": TENS, "hundreds": TENS},
    "functions": {
        "carry": lambda a, b: int(a + b > 9), "ones": lambda a, b: (a + b) % 10, "tens": lambda a, b, c: (a + b + c) % 10,
        "hundreds": lambda a, b, c: int(a + b + c > 9),
    },
}  # fmt: skip
SINKS = ["hundreds", "tens", "ones"]
PROMPT = "The sum of {a1}{a0} and {b1}{b0} is"


def as_one_more_variable():
    functions = SUM["functions"] | {"sum": lambda h, t, o: 100 * h + 10 * t + o}
    sink = {"variables": [*SUM["variables"], "sum"], "parents": SUM["parents"] | {"sum": SINKS}, "functions": functions}
    return CausalModel.from_dicts(**SUM | sink), Prompt(PROMPT, " {} .".format)


def as_a_list_of_outputs():
    model = CausalModel.from_dicts(**SUM, output=SINKS)
    return model, Prompt(PROMPT, lambda digits: f" {100 * digits[0] + 10 * digits[1] + digits[2]} .")


@pytest.mark.parametrize("make", [as_one_more_variable, as_a_list_of_outputs])
def test_a_sum_with_a_swapped_carry_is_the_sum_worked_out_by_hand(make):
    model, prompt = make()
    task, lm = Task(prompt, {"carry": Hypothesis(model, "carry")}), network("The sum of and is . 0123456789")
    pairs, data, labelled = pairs_of(task, lm)
    base, source = pairs.base, pairs.sources["carry"]
    ones, carry = base["a0"] + base["b0"], source["a0"] + source["b0"] > 9
    by_hand = 10 * (base["a1"] + base["b1"] + carry) + ones % 10
    assert task.prompt.answer_texts(pairs.answer) == [f" {value} ." for value in by_hand.tolist()]
    told = [[token for token in row if token >= 0] for row in data.answers.spelling(labelled.label).tolist()]
    assert told == [lm.tokenizer(f" {value} .", add_special_tokens=False)["input_ids"] for value in by_hand.tolist()]


def test_which_of_several_sinks_is_the_answer_has_to_be_said():
    with pytest.raises(DasError, match="Give output=, one of: hundreds, tens, ones; or a list"):
        CausalModel.from_dicts(**SUM)


# --- indirect objects, whose last node is a real number ---

NAMES = ["Ann", "Bob", "Cid"]
ABC = ["A", "B", "C"]
IOI = {
    "variables": [*ABC, "token", "position", "logit_diff"],
    "values": dict.fromkeys([*ABC, "token"], NAMES) | {"position": [0, 1], "logit_diff": None},
    "parents": {"token": ABC, "position": ABC, "logit_diff": [*ABC, "token", "position"]},
    "functions": {
        "token": lambda a, b, c: b if c == a else a if c == b else "Error",
        "position": lambda a, b, c: 1 if c == a else 0 if c == b else "Error",
        "logit_diff": lambda a, b, c, t, p: 0.3 + 0.6 * (1 if t != c else -1) + 2.2 * (1 if p == (c == a) else -1),
    },
}


def test_a_real_output_is_said_in_digits_and_right_within_a_tolerance():
    prompt = Prompt("{A} and {B} ; {C} gave to", lambda value: f" {value:.1f} .", tolerance=0.5)
    task = Task(prompt, {"position": Hypothesis(CausalModel.from_dicts(**IOI), "position")})
    lm = network("Ann Bob Cid and ; gave to . - 0123456789")
    pairs, data, labelled = pairs_of(task, lm)
    base, source = pairs.base, pairs.sources["position"]
    repeated = np.where(source["C"] == source["A"], 1, np.where(source["C"] == source["B"], 0, -1))
    all_one = (base["A"] == base["B"]) & (base["B"] == base["C"])
    by_hand = 0.3 + np.where(all_one, -0.6, 0.6) + 2.2 * np.where(repeated == (base["C"] == base["A"]), 1, -1)
    np.testing.assert_allclose(pairs.answer.astype(float), by_hand)
    assert {text.strip(" .") for text in task.prompt.answer_texts(pairs.answer)} <= {"3.1", "1.9", "-1.3", "-2.5"}
    for near, answer in [(3.1, 3.1), (-1.3, -1.3)]:
        said = np.array(lm.tokenizer(f" {near:.1f} .", add_special_tokens=False)["input_ids"])
        row = int(np.flatnonzero(np.isclose(by_hand, answer))[0])
        width = data.answers.steps - len(said)
        number = labelled.label[[row]]
        assert data.answers.right(np.pad(said, (0, width))[None].repeat(data.answers.slots, 0), number).tolist() == [True]
        assert not data.answers.right(np.pad(said[1:], (0, width + 1))[None].repeat(data.answers.slots, 0), number).any()


def test_a_real_output_that_the_tokenizer_cannot_write_is_refused():
    task = Task(
        Prompt("{A} and {B} ; {C} gave to", lambda v: f" {v}"), {"p": Hypothesis(CausalModel.from_dicts(**IOI), "position")}
    )
    with pytest.raises(DasError, match="is unknown to the tokenizer"):
        task.check(network("Ann Bob Cid and ; gave to").tokenizer)
