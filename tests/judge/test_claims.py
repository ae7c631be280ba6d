"""What may be said of circuits and of edits: the rules, case by case, and claims as JSON holds them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from das import DasError
from das.interchange.accuracy import Accuracy
from das.judge.claimed_circuit import CircuitFacts, judge_circuit
from das.judge.claimed_edit import EditFacts, judge_edit
from das.judge.claims import LEVELS, NOT_ASKED, Claim, Share
from das.judge.verdict import VERDICTS
from das.stats import wilson


def faithful(share, low, high):
    return Share("faithfulness", share, low, high, 0.0)


WHOLE = Share("completeness", 1.0, 0.95, 1.0, 0.0)
CIRCUIT = CircuitFacts(
    "h.v", 75, 1108, faithful(0.9, 0.84, 0.95), WHOLE, accuracy=Accuracy(0.98, 0.5),
    nulls={"random": (faithful(0.05, 0.02, 0.12), WHOLE), "untrained": (faithful(0.5, 0.4, 0.62), WHOLE)},
    losses=(Share("costliest", 0.39),),
)  # fmt: skip

CIRCUITS = {
    "nothing against it": ({}, "supported"),
    "no nulls run": ({"nulls": {}}, "supported"),
    "nobody knows what the network answers": ({"accuracy": None}, "supported"),
    "the network does not answer": ({"accuracy": Accuracy(0.7, 0.5)}, "task not solved"),
    "all edges": ({"edges": 1108, "faithfulness": faithful(1.0, 0.95, 1.0)}, "not above the null"),
    "a null may reach it": (
        {"nulls": {"untrained": (faithful(0.8, 0.7, 0.9), WHOLE)}},
        "not above the null",
    ),
    "a null comes near": ({"nulls": {"untrained": (faithful(0.77, 0.66, 0.86), WHOLE)}}, "supported"),
    "a null is complete, as all are": ({"nulls": {"random": (faithful(0, 0, 0.05), WHOLE)}}, "supported"),
    "rivals": ({"rivals": ["one", "two"]}, "not identifiable"),
    "rivals and a null that reaches it": (
        {"rivals": ["one"], "faithfulness": faithful(0.6, 0.5, 0.7)},
        "not above the null",
    ),
    "no causal model": ({"rivals": None}, "supported"),
    "faithfulness falls short": ({"faithfulness": faithful(0.83, 0.74, 0.89)}, "partly"),
    "completeness falls short": ({"completeness": replace(WHOLE, share=0.85, low=0.79)}, "partly"),
}


@pytest.mark.parametrize("case", CIRCUITS)
def test_the_rule_of_circuits(case):
    changes, expected = CIRCUITS[case]
    claim = judge_circuit(replace(CIRCUIT, **changes))
    assert claim.verdict == expected
    assert claim.sentence.startswith(f"h.v, circuit of {changes.get('edges', 75):,} of 1,108 edges: {expected}. ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"faithfulness": faithful(0.83, 0.74, 0.89)}, "The lower end of faithfulness is below 0.8."),
        (
            {"rivals": ["one", "two"], "changed": ["a", "b"]},
            "Were one or two true, these pairs, which differ in a and b, would",
        ),
        ({}, "Nulls run: faithfulness 0.05 (0.02 to 0.12) of the random; faithfulness 0.50 (0.40 to 0.62) of the untrained."),
        ({"nulls": {}}, "No nulls were run."),
        ({"rivals": None}, "Not asked: whether a rival"),
        ({"swap": "zero"}, "circuit of 75 of 1,108 edges, by zero: supported"),
    ],
)
def test_the_sentence_of_a_circuit_says_why(changes, says):
    assert says in judge_circuit(replace(CIRCUIT, **changes)).sentence


# --- edits ---


def outcomes(**shares):
    return {what: Share(what, share, low, min(1, share + 0.05)) for what, (share, low) in shares.items()}


GOOD = outcomes(
    efficacy=(1.0, 0.9), paraphrase=(0.95, 0.85), hops=(0.9, 0.82), reverse=(0.0, 0.0), essence=(0.9, 0.8),
    neighbourhood=(0.92, 0.86),
)  # fmt: skip
TUNED = outcomes(efficacy=(1.0, 0.9), paraphrase=(0.6, 0.5), neighbourhood=(0.95, 0.9), hops=(0.9, 0.8))
EDIT = EditFacts("capital.capital", "ROME edit of layer 6, 9 facts", GOOD, known=0.8, nulls={"fine-tuning": TUNED})


def but(*left_out, **shares):
    return {what: share for what, share in (GOOD | outcomes(**shares)).items() if what not in left_out}


EDITS = {
    "nothing against it": ({}, "supported"),
    "no fine-tuning": ({"nulls": {}}, "supported"),
    "nobody counted what it knows": ({"known": None}, "supported"),
    "it knows too little": ({"known": 0.49}, "task not solved"),
    "it knows nothing": ({"outcomes": but("efficacy"), "known": None}, "task not solved"),
    "no answer changes": ({"outcomes": but(efficacy=(0.0, 0.0))}, "not above the null"),
    "fine-tuning does as much": ({"nulls": {"fine-tuning": GOOD}}, "not above the null"),
    "fine-tuning does as much but spares fewer": (
        {"nulls": {"fine-tuning": but(neighbourhood=(0.91, 0.85))}},
        "supported",
    ),
    "the subject goes with it": ({"outcomes": but(essence=(0.4, 0.3))}, "not identifiable"),
    "some of the subject goes with it": ({"outcomes": but(essence=(0.6, 0.5))}, "supported"),
    "essence was not asked": ({"outcomes": but("essence")}, "supported"),
    "it does not follow": ({"outcomes": but(hops=(0.85, 0.75))}, "partly"),
    "hops were not asked": ({"outcomes": but("hops")}, "supported"),
    "paraphrases were not asked": ({"outcomes": but("paraphrase"), "nulls": {}}, "partly"),
    "others go with it": ({"outcomes": but(neighbourhood=(0.7, 0.6))}, "partly"),
    "others were not asked": ({"outcomes": but("neighbourhood"), "nulls": {}}, "partly"),
    "it acts on the subject alone": ({"outcomes": but("neighbourhood"), "alone": True}, "supported"),
    "nothing backwards": ({"outcomes": but("reverse")}, "supported"),
}


@pytest.mark.parametrize("case", EDITS)
def test_the_rule_of_edits(case):
    changes, expected = EDITS[case]
    assert judge_edit(replace(EDIT, **changes)).verdict == expected


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outcomes": but(hops=(0.5, 0.4))}, "The lower end of hops is below 0.8."),
        ({"outcomes": but("paraphrase"), "nulls": {}}, "Paraphrase was not asked."),
        ({"outcomes": but(essence=(0.1, 0.0))}, "another subject put in its place"),
        ({}, "of what should stay essence 0.90"),
        ({}, "Beside it: fine-tuning efficacy 1.00 (0.90 to 1.00), paraphrase"),
        ({"outcomes": but("essence")}, "Not asked: whether what else holds of the subject stays (essence)."),
    ],
)
def test_the_sentence_of_an_edit_says_why(changes, says):
    assert says in judge_edit(replace(EDIT, **changes)).sentence


# --- as they are kept ---


def test_a_difference_is_as_sure_as_both_intervals_make_it():
    """Newcombe (1998), table II: 56 of 70 against 48 of 80, method 10: from .0524."""
    one, other = Share("a", 0.8, 0.6920, 0.8770), Share("b", 0.6, 0.4904, 0.7000)
    more, less = (Share("", k / n, *wilson(k / n, n, 1.95996)) for k, n in ((56, 70), (48, 80)))
    assert more.above(less) == pytest.approx(0.0524, abs=2e-4)
    assert one.above(other) == pytest.approx(0.2 - np.hypot(0.108, 0.1))
    assert Share("a", 0.8).above(Share("b", 0.8)) == 0


def test_rules_give_the_words_of_the_judge_alone():
    assert {expected for _, expected in [*CIRCUITS.values(), *EDITS.values()]} == set(VERDICTS) - {"illusory"}


@pytest.mark.parametrize("claim", [judge_circuit(CIRCUIT), judge_edit(EDIT)], ids=["circuit", "edit"])
def test_a_claim_comes_back_from_json_and_says_which_levels_were_not_asked(claim):
    body = json.loads(json.dumps(claim.plain()))
    assert Claim.of_plain(body) == claim
    assert list(body["levels"]) == list(LEVELS)
    assert body["levels"]["decoding"] == NOT_ASKED


@pytest.mark.parametrize(
    "body", [None, [], {}, {"claim": "x"}, judge_edit(EDIT).plain() | {"levels": {"decoding": [{"of": "x"}]}}]
)
def test_what_is_no_claim_is_refused(body):
    with pytest.raises(DasError, match="expected a claim"):
        Claim.of_plain(body)
