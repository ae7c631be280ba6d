"""Identifiability: what a wrong hypothesis could score, from the causal models alone."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from conftest import ROOT

from das import Bool, CausalModel, DasError, Hypothesis, Inputs, Pairs, Prompt, Range, Task, load_task, make_pairs
from das.causal.columns import codes
from das.cli import main
from das.pairs.audit import audit, audit_text
from das.pairs.families import FAMILIES
from das.pairs.identify import FIRST, Report, examine, identify, way_text
from das.pairs.rivals import MOST_WAYS, agreement, least, ways

TASK = str(ROOT / "tasks" / "price_tagging.py")


def claim_of(task, name, families, n, seed=0):
    rng = np.random.default_rng(seed)
    pool = task.model.sample(rng, n)
    return examine(task, name, make_pairs(task.hypotheses[name], pool, n, rng, families, task.rivals(name)))


# --- price tagging under natural sampling: simulated elsewhere with 400,000 pairs ---

PAPER = {"midpoint": (0.682, 0.504), "bracket": (0.636, 0.543), "left_boundary": (0.689, 0.690)}


@pytest.mark.parametrize(
    "name", ["midpoint", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bracket", "left_boundary"))]
)
def test_a_noop_and_a_whole_swap_score_what_is_known_of_natural_sampling(name, price_tagging):
    """The standard error of a share of 400,000 pairs is below .001."""
    claim = claim_of(price_tagging, name, {"natural": 1}, 400_000)
    assert (claim.noop, claim.whole) == pytest.approx(PAPER[name], abs=0.005)


@pytest.fixture(scope="module")
def report(price_tagging):
    return identify(price_tagging, n=4000)


def test_the_table_is_of_every_hypothesis_by_every_hypothesis(report, price_tagging):
    names = list(price_tagging.hypotheses)
    for claims in (report.table, report.natural, report.alone["separate"]):
        assert list(claims) == names
        assert all(list(claim.largest) == list(claim.own) == list(claim.computed) == names for claim in claims.values())


def test_the_claim_itself_scores_one(report):
    for claims in (report.table, report.natural, *report.alone.values()):
        for name, claim in claims.items():
            assert claim.own[name] == claim.largest[name].iia == claim.computed[name].iia == 1


def test_the_largest_is_at_least_what_any_subspace_scores(report):
    for claims in (report.table, report.natural, *report.alone.values()):
        for claim in claims.values():
            for other, best in claim.largest.items():
                assert best.iia >= max(claim.noop, claim.inputs.iia, claim.own[other], claim.computed[other].iia)
                if len(claim.own) == 1:
                    assert best.iia >= claim.whole


def test_a_boundary_is_implied_where_both_boundaries_are_true(report):
    best = report.table["left_boundary"].largest["left_and_right"]
    assert best.iia == 1
    assert way_text(best.through) == "above_lower"
    assert report.table["left_boundary"].own["left_and_right"] == report.table["left_boundary"].whole < 0.9


# --- two DAGs whose every pair can be counted ---


def first_copy(x):
    return x


def first(first_copy, y):
    return first_copy & y


def second_copy(y):
    return y


def second(x, second_copy):
    return x & second_copy


BITS = {"x": Bool(), "y": Bool()}
COPIES = Task(
    Prompt("{x} {y}", {True: "yes", False: "no"}),
    {
        "first": Hypothesis(CausalModel(first_copy, first, inputs=BITS), "first_copy"),
        "second": Hypothesis(CausalModel(second_copy, second, inputs=BITS), "second_copy"),
    },
)


def every_pair(hypothesis):
    table = np.array(list(product([False, True], repeat=4)))
    base, source = ({"x": table[:, i], "y": table[:, i + 1]} for i in (0, 2))
    (variable,), model = hypothesis.variables, hypothesis.model
    return Pairs(
        base=base,
        sources={variable: source},
        base_answer=model.run(base)[model.output],
        source_answer=model.run(source)[model.output],
        answer=model.interchange(base, {variable: source})[model.output],
        swapped=np.ones((16, 1), bool),
        family=np.full(16, "all"),
    )


def test_the_entries_are_those_counted_by_hand():
    claim = examine(COPIES, "first", every_pair(COPIES.hypotheses["first"]))
    # label: source.x and base.y
    assert (claim.noop, claim.whole) == (0.75, 0.75)
    assert (claim.inputs.iia, claim.inputs.through) == (1, {"x": "first_copy"})
    assert claim.own == {"first": 1, "second": 0.625}  # base.x and source.y
    assert claim.computed["second"].iia == 0.75
    assert claim.largest["second"].through == {"x": "first_copy"}
    assert claim.entry("second") == (1, 0.75)


# --- several variables, and what cannot be followed ---


def test_two_variables_of_a_claim_give_their_values_to_a_rivals_by_place_or_by_the_first_swapped(price_tagging):
    hypothesis = price_tagging.hypotheses["left_and_right"]
    rng = np.random.default_rng(0)
    pairs = make_pairs(hypothesis, price_tagging.model.sample(rng, 3000), 3000, rng)
    claim = examine(price_tagging, "left_and_right", pairs)
    assert claim.whole == np.mean(pairs.source_answer == pairs.answer)
    assert claim.noop == np.mean(pairs.base_answer == pairs.answer)
    best = claim.largest["left_boundary"]
    assert set(best.through.values()) <= {*hypothesis.variables, FIRST}
    assert "(of below_upper)" in way_text(best.through)


def test_ways_are_few_small_first_and_nothing_stands_where_it_does_nothing():
    found, all_of_them = ways(COPIES.hypotheses["first"].model, ["one", "two"])
    assert all_of_them
    assert [set(way) for way in found[::1] if len(set(way.values())) < 2 and "two" not in way.values()] == [
        set(), {"first"}, {"first_copy"}, {"y"}, {"x"}, {"first_copy", "y"}, {"y", "x"},
    ]  # fmt: skip
    assert len(found) == 1 + 2 * 4 + 4 * 2  # of x and its copy one is enough, and the output stands alone


def negations(n):
    """A model of n inputs, each with a negation, whose parity is the output."""
    bits = [f"x{i}" for i in range(n)]
    text = "".join(f"def not_{x}({x}): return ~{x}\n" for x in bits)
    text += f"def parity({', '.join('not_' + x for x in bits)}): return {' ^ '.join('not_' + x for x in bits)}\n"
    scope = {}
    exec(text, scope)
    return CausalModel(*[scope[f"not_{x}"] for x in bits], scope["parity"], inputs={x: Bool() for x in bits})


def test_ways_of_a_large_model_are_bounded_and_it_is_said():
    found, all_of_them = ways(negations(40), ["one"])
    assert (len(found), all_of_them) == (MOST_WAYS, False)


@pytest.mark.parametrize("n", [2, 4, 6, 9])
def test_the_largest_is_that_of_every_set_of_variables(n):
    """By trying all 2^variables: nothing that was left out does anything that is not there."""
    model, rng = negations(n), np.random.default_rng(n)
    base, source = model.sample(rng, 40), model.sample(rng, 40)
    label = rng.random(40) < 0.5
    tried, all_of_them = ways(model, ["s"])
    assert all_of_them
    mine = {found.tobytes() for found in agreement(model, base, {"s": source}, label, tried)}
    some = rng.integers(0, 2, (300, 2 * n)).astype(bool)
    every = [dict.fromkeys(np.array(model.variables[:-1])[row].tolist(), "s") for row in some]
    assert {found.tobytes() for found in agreement(model, base, {"s": source}, label, every)} <= mine


def test_nine_copies_of_a_bit_that_are_all_needed_are_found_together():
    names = [f"c{i}" for i in range(9)]
    scope = {}
    exec(
        "".join(f"def {c}(x): return x | False\n" for c in names)
        + f"def out({', '.join(names)}, y): return {' & '.join(names)} & y",
        scope,
    )
    many = CausalModel(*[scope[c] for c in names], scope["out"], inputs=BITS)
    task = Task(COPIES.prompt, {"one": COPIES.hypotheses["first"], "nine": Hypothesis(many, "c0")})
    claim = examine(task, "one", every_pair(task.hypotheses["one"]))
    assert claim.computed["nine"].iia == 1
    assert set(claim.computed["nine"].through) == set(names)
    assert claim.exhausted == {"one": True, "nine": True}


def test_a_parity_of_four_scores_as_much_by_its_four_negations():
    def parity(x0, x1, x2, x3):
        return x0 ^ x1 ^ x2 ^ x3

    def out(parity):
        return parity

    inputs = {f"x{i}": Bool() for i in range(4)}
    whole = CausalModel(parity, out, inputs=inputs)
    task = Task(
        Prompt("{x0} {x1} {x2} {x3}", COPIES.prompt.answers),
        {"whole": Hypothesis(whole, "parity"), "negations": Hypothesis(negations(4), "not_x0")},
    )
    pairs = make_pairs(task.hypotheses["whole"], whole.enumerate(), 200, np.random.default_rng(0))
    assert examine(task, "whole", pairs).computed["negations"].iia == 1


def test_what_was_not_tried_is_said():
    task = Task(
        Prompt(" ".join(f"{{x{i}}}" for i in range(14)), COPIES.prompt.answers),
        {"first": Hypothesis(negations(14), "not_x0"), "second": Hypothesis(negations(14), "not_x1")},
    )
    pairs = make_pairs(task.hypotheses["first"], task.model.sample(np.random.default_rng(0), 50), 20, np.random.default_rng(0))
    claim = examine(task, "first", pairs)
    assert claim.exhausted == {"first": False, "second": False}
    assert claim.figures("second")[1] == "+"
    assert "or more (not every set of variables was tried)" in audit_text("first", audit(task, "first", pairs))


def width(low, high):
    if (low > high).any():
        raise ValueError("never so")
    return high - low


def is_wide(width):
    return width > 3


def test_a_way_that_the_mechanisms_cannot_follow_agrees_nowhere():
    ordered = Inputs({"low": Range(0, 9), "high": Range(0, 20)}, where=lambda low, high: low <= high)
    model = CausalModel(width, is_wide, inputs=ordered)
    base, source = ({"low": np.array([low]), "high": np.array([high])} for low, high in [(0, 3), (5, 20)])
    tried = [{}, {"low": "s"}, {"high": "s"}]
    given = agreement(model, base, {"s": source}, np.array([False]), tried)
    assert [bool(agrees[0]) for agrees in given] == [True, False, False]
    with pytest.raises(DasError, match="never so"):
        model.intervene(base, {"low": source["low"]})


# --- DAGs that no pair tells apart ---


def larger(a, b):
    return a > b


def told(larger):
    return larger


def difference(a, b):
    return a - b


def positive(difference):
    return difference > 0


def sign(difference):
    return np.sign(difference)


def above_zero(sign):
    return sign == 1


NUMBERS = {"a": Range(0, 9), "b": Range(0, 9)}
TWINS = Task(
    Prompt("{a} {b}", {True: "yes", False: "no"}),
    {
        "larger": Hypothesis(CausalModel(larger, told, inputs=NUMBERS), "larger"),
        "difference": Hypothesis(CausalModel(difference, positive, inputs=NUMBERS), "difference"),
        "sign": Hypothesis(CausalModel(difference, sign, above_zero, inputs=NUMBERS), "sign"),
    },
)


def test_equivalent_models_are_reported_as_not_identifiable():
    report = identify(TWINS, n=2000)
    for name, claim in report.table.items():
        for other in TWINS.hypotheses:
            assert claim.entry(other) == (1, 1), (name, other)
    assert report.text().count("would score 1.000 as larger; they do not tell the two apart") == 2
    lines = report.text().split("on each family alone")[1].splitlines()[2:]
    assert len(lines) == 6
    assert all("  none  " in line for line in lines)
    pairs = make_pairs(TWINS.hypotheses["larger"], TWINS.model.enumerate(), 200, np.random.default_rng(0))
    text = audit_text("larger", audit(TWINS, "larger", pairs))
    assert "CANNOT be told from sign on 1.00" in text
    assert "IIA could come to 1.00 if difference were true: through difference; 1.00 without inputs" in text


def test_variables_of_one_model_are_no_rivals():
    """They are true together: no pairs can tell them apart, and none need to."""
    model = CausalModel(difference, sign, above_zero, inputs=NUMBERS)
    both = {name: Hypothesis(model, name) for name in ("difference", "sign")}
    task = Task(Prompt("{a} {b}", {True: "yes", False: "no"}), both)
    report = identify(task, n=500)
    assert report.table["sign"].siblings == ["difference"]
    assert "sign against difference: of one causal model" in report.text()
    pairs = make_pairs(both["sign"], model.enumerate(), 200, np.random.default_rng(0))
    assert "were true" not in audit_text("sign", audit(task, "sign", pairs))


# --- pairs that separate ---


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["left_boundary", "left_and_right", "midpoint", "bracket"])
def test_separating_pairs_leave_rivals_less(name, seed, price_tagging):
    mixes = None, {"natural": 1}, {"separate": 1}
    default, natural, apart = (claim_of(price_tagging, name, families, 1500, seed) for families in mixes)
    compared = 0
    for other in apart.rivals:
        for less, *more in zip(apart.entry(other), default.entry(other), natural.entry(other), strict=True):
            if max(more) < 1:  # the rival's model does not imply the claim
                assert less < min(more) - 0.1
                compared += 1
    assert compared >= 2


def test_identify_says_in_words_which_claims_its_pairs_tell_apart(price_tagging):
    report = identify(price_tagging, n=400)
    for name, claim in report.table.items():
        for other in claim.rivals:
            words = next(line for line in report.text().splitlines() if line.startswith(f"{name} against {other}: "))
            assert ("do not" in words) == (claim.entry(other)[1] >= 0.995)


def test_separating_pairs_are_balanced_varied_and_the_same_by_seed(price_tagging):
    pool = price_tagging.model.sample(np.random.default_rng(0), 3000)
    made = [
        make_pairs(price_tagging.hypotheses["midpoint"], pool, 1000, np.random.default_rng(s), {"separate": 0.5, "flip": 0.5})
        for s in (1, 1, 2)
    ]
    one, two, other = ([*zip(*map(list, pairs.columns().values()), strict=True)] for pairs in made)
    assert one == two != other
    mine = made[0].family == "separate"
    assert (mine.sum(), made[0].base_answer[mine].sum()) == (500, 250)
    assert len(np.unique(codes(*made[0].columns().values())[mine])) == 500
    assert codes(*made[0].base.values())[mine].max() > 200


def test_without_rivals_a_models_own_other_variables_are_told_apart():
    task = Task(COPIES.prompt, {"first": COPIES.hypotheses["first"]})
    report = identify(task, n=500)
    assert report.table["first"].rivals == {}
    assert "each family alone" not in report.text()
    assert report.alone["separate"]["first"].noop < report.alone["resample"]["first"].noop


def test_natural_bases_are_as_they_come(price_tagging):
    rng = np.random.default_rng(0)
    pool = price_tagging.model.sample(rng, 5000)
    pairs = make_pairs(price_tagging.hypotheses["midpoint"], pool, 5000, rng, {"natural": 1})
    output = price_tagging.model.run(pool)[price_tagging.model.output]
    assert pairs.base_answer.sum() == output.sum()
    assert np.mean(pairs.source_answer) == pytest.approx(output.mean(), abs=0.03)


def test_least_takes_each_row_once_and_those_that_agree_least():
    rng = np.random.default_rng(0)
    model = CausalModel(larger, told, inputs=NUMBERS)
    base, source = model.sample(rng, 800), model.sample(rng, 800)
    label = base["a"] > source["b"]
    rows = least([model], base, {"s": source}, label, 200, rng)
    assert len(np.unique(rows)) == 200

    def worst(chosen):
        found = [mask[chosen].mean() for mask in agreement(model, base, {"s": source}, label, ways(model, ["s"])[0])]
        return max(share for share in found if share < 1)

    assert worst(rows) < worst(np.arange(800)) - 0.2


def test_least_chooses_freely_where_nothing_can_be_told_apart():
    rng = np.random.default_rng(0)
    base = {"x": np.zeros(50, bool), "y": np.zeros(50, bool)}
    model = COPIES.hypotheses["first"].model
    rows = least([model], base, {"s": base}, np.zeros(50, bool), 20, rng)
    assert len(np.unique(rows)) == 20


# --- the command ---


def test_the_command_prints_and_writes_its_tables(capsys, tmp_path):
    file = tmp_path / "deep" / "tables.json"
    assert main(["identify", TASK, "--pairs", "1000", "--seed", "3", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    written = json.loads(file.read_text())
    again = identify(load_task(TASK), n=1000, seed=3)
    assert isinstance(again, Report)
    assert out.endswith(again.text() + "\n")
    assert written == again.plain()
    assert list(written["alone"]) == list(FAMILIES)
    assert "price_tagging: 1,000 pairs per hypothesis, flip 0.5 + keep 0.5" in out
    assert out.count("\nclaimed") == 3


def test_the_command_takes_families(capsys):
    assert main(["identify", TASK, "--pairs", "200", "--families", "{separate: 0.5, flip: 0.5}"]) == 0
    assert "200 pairs per hypothesis, separate 0.5 + flip 0.5" in capsys.readouterr().out


WRONG = {
    "unknown family": (["--families", "{flop: 1.0}"], "unknown family of pairs 'flop': did you mean 'flip'?"),
    "no share": (["--families", "{flip: 0.0}"], "the share of family 'flip' is 0: expected more than 0"),
    "too few pairs": (["--pairs", "1"], "pairs is 1: expected at least 2"),
    "a file in the way": (["--pairs", "50", "--json", f"{TASK}/x.json"], "x.json cannot be written"),
    "no number": (["--pairs", "many"], "pairs is 'many'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_one_clear_line(name, capsys):
    options, message = WRONG[name]
    assert main(["identify", TASK, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("das: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("shift", ["base", "true_false"])
def test_hypotheses_of_one_model_are_no_rivals_under_any_shift(shift):
    task = load_task("price_tagging")
    twice = replace(
        task, hypotheses=task.hypotheses | {"other": Hypothesis(task.hypotheses["left_boundary"].model, "above_lower")}
    )
    asked = twice.under(shift)
    pool = asked.model.sample(np.random.default_rng(0), 400)
    pairs = make_pairs(asked.hypotheses["left_boundary"], pool, 100, np.random.default_rng(1))
    assert examine(asked, "left_boundary", pairs).siblings == ["other"]


# --- what could be mistaken for the claim ---


@pytest.mark.parametrize(
    ("claim", "rival", "apart"),
    [
        ("left_boundary", "left_and_right", {"in_bracket"}),  # above_lower is the claim itself: the whole answer is next
        ("bracket", "midpoint", {"midpoint"}),  # midpoint and half_width together are the bracket in other words
        ("midpoint", "bracket", {"bracket"}),
    ],
)
def test_the_claimed_variable_under_another_name_is_not_mistaken_for_it(claim, rival, apart):
    task = load_task("price_tagging")
    pool = task.model.sample(np.random.default_rng(0), 4000)
    pairs = make_pairs(task.hypotheses[claim], pool, 1000, np.random.default_rng(1))
    found = examine(task, claim, pairs)
    assert claim not in found.apart
    assert set(found.apart[rival].through) == apart
    assert found.apart[rival].iia <= found.computed[rival].iia
    assert found.apart[rival].iia < 0.9
