"""A causal model is the plain loop over rows that it stands for."""

import functools
import inspect
import itertools
import re

import numpy as np
import pytest
from matplotlib.axes import Axes

from das import Bool, CausalModel, Choice, DasError, Inputs, Range, Sampler, Uniform, scalar
from das.causal.columns import as_column, differ, row_of, take
from das.causal.node import node_of

# --- small models, each twice: on numpy columns, and row by row in plain Python ---


def both(left, right):
    return left & right


def neither(left, right):
    return ~(left | right)


def same(both, neither):
    return both | neither


def late(middle, b):
    return middle - b


def middle(a):
    return 2 * a


def ratio(late, middle):
    return late / (1 + np.abs(middle))


def louder(word):
    return np.char.upper(word)


def phrase(louder, times):
    return np.char.multiply(louder, times)


@scalar
def parity(a):
    return "even" if a % 2 == 0 else "odd"


@scalar
def told(parity, b):
    return f"{parity}{b}" if b else parity


BOOLEANS = {"left": Bool(), "right": Bool()}
NUMBERS = {"a": Range(-1, 2), "b": Range(0, 1, 0.5)}
WORDS = {"word": Choice(["cat", "a dog"]), "times": Range(1, 3)}

MODELS = {
    "booleans": (
        CausalModel(both, neither, same, inputs=BOOLEANS),
        {
            "both": lambda left, right: left and right,
            "neither": lambda left, right: not (left or right),
            "same": lambda both, neither: both or neither,
        },
    ),
    "child_before_parent": (
        CausalModel(late, middle, ratio, inputs=NUMBERS),
        {
            "late": lambda middle, b: middle - b,
            "middle": lambda a: 2 * a,
            "ratio": lambda late, middle: late / (1 + abs(middle)),
        },
    ),
    "words": (
        CausalModel(louder, phrase, inputs=WORDS),
        {"louder": lambda word: word.upper(), "phrase": lambda louder, times: louder * times},
    ),
    "scalar": (
        CausalModel(parity, told, inputs={"a": Range(0, 3), "b": Range(0, 2)}),
        {
            "parity": lambda a: ["even", "odd"][a % 2],
            "told": lambda parity, b: parity + (str(b) if b else ""),
        },
    ),
    "constraint": (
        CausalModel(late, middle, ratio, inputs=Inputs(NUMBERS, where=lambda a, b: a < b)),
        {
            "late": lambda middle, b: middle - b,
            "middle": lambda a: 2 * a,
            "ratio": lambda late, middle: late / (1 + abs(middle)),
        },
    ),
}


def by_hand(rules, setting, fixed=None):
    """Every variable of one row, by recursion."""

    @functools.cache
    def value(name):
        if name in (fixed or {}):
            return fixed[name]
        return setting[name] if name in setting else rules[name](*map(value, inspect.signature(rules[name]).parameters))

    return {name: value(name) for name in [*setting, *rules]}


def rows(columns):
    return [row_of(columns, i) for i in range(len(next(iter(columns.values()))))]


@pytest.fixture(params=MODELS)
def twice(request):
    return MODELS[request.param]


def test_run_equals_a_loop_over_every_setting(twice):
    model, rules = twice
    settings = model.enumerate()
    assert rows(model.run(settings)) == [by_hand(rules, setting) for setting in rows(settings)]


def test_interchange_of_each_variable_equals_a_loop_over_every_pair(twice):
    model, rules = twice
    settings = model.enumerate()
    base, source = (take(settings, at.ravel()) for at in np.indices((model.size, model.size)))
    for variable in model.variables:
        found = rows(model.interchange(base, {variable: source}))
        for row, b, s in zip(found, rows(base), rows(source), strict=True):
            assert row == by_hand(rules, b, {variable: by_hand(rules, s)[variable]})


def test_interchange_of_two_variables_takes_each_from_its_own_source(twice):
    model, rules = twice
    rng = np.random.default_rng(0)
    for first, second in itertools.combinations(model.variables, 2):
        base, one, two = (model.sample(rng, 60) for _ in range(3))
        found = rows(model.interchange(base, {first: one, second: two}))
        for row, b, s, t in zip(found, rows(base), rows(one), rows(two), strict=True):
            assert row == by_hand(rules, b, {first: by_hand(rules, s)[first], second: by_hand(rules, t)[second]})


def test_interchange_with_itself_changes_nothing(twice):
    model, _ = twice
    settings = model.enumerate()
    for count in (1, len(model.variables)):
        for chosen in itertools.combinations(model.variables, count):
            assert rows(model.interchange(settings, dict.fromkeys(chosen, settings))) == rows(model.run(settings))


def test_a_variable_moves_the_output_where_an_allowed_interchange_changes_it(twice):
    model, _ = twice
    settings = model.enumerate()
    base, source = (take(settings, at.ravel()) for at in np.indices((model.size, model.size)))
    for variable in model.variables:
        values = model.run(source)[variable]
        asked = base | {variable: values} if variable in model.inputs.names else base
        answers = model.run(base)[model.output]
        changed = differ(answers, model.interchange(base, {variable: source})[model.output])
        assert (model.moves(base, answers, variable, values) == changed & model.inputs.allowed(asked)).all()


def test_no_mechanism_is_asked_about_inputs_that_are_not_allowed():
    def after(first, second, again):
        return np.stack([first, second])[(again == first) * 1, np.arange(len(again))] + 10 // (again < 2)

    inputs = Inputs(dict.fromkeys(["first", "second", "again"], Range(0, 2)), where=lambda again: again < 2)
    model = CausalModel(after, inputs=inputs)
    base = {"first": np.array([0, 1]), "second": np.array([1, 2]), "again": np.array([0, 0])}
    with np.errstate(divide="raise"), pytest.raises(DasError, match="failed"):
        model.intervene(base, {"again": np.array([1, 2])})
    with np.errstate(divide="raise"):
        assert model.moves(base, model.run(base)[model.output], "again", np.array([1, 2])).tolist() == [True, False]


def test_intervention_on_the_output_is_the_output(twice):
    model, _ = twice
    settings = model.enumerate()
    swapped = model.run(take(settings, np.arange(model.size)[::-1]))[model.output]
    assert model.intervene(settings, {model.output: swapped})[model.output].tolist() == swapped.tolist()


def test_variables_come_after_their_parents_and_the_last_function_is_the_output(twice):
    model, rules = twice
    assert model.output == list(rules)[-1]
    for name, rule in rules.items():
        assert model.parents(name) == tuple(inspect.signature(rule).parameters)
        assert all(model.variables.index(parent) < model.variables.index(name) for parent in model.parents(name))
    assert all(model.parents(name) == () for name in model.inputs.names)


def test_repr_shows_the_wiring():
    assert repr(MODELS["booleans"][0]).splitlines()[1:] == [
        "  both(left, right)",
        "  neither(left, right)",
        "  same(both, neither)",
        "  output: same",
    ]


# --- values that are vectors ---


def interval(low, high):
    return np.stack([low, high], axis=-1)


def inside(interval, x):
    return (interval[:, 0] <= x) & (x <= interval[:, 1])


@scalar
def inside_by_row(interval, x):
    return bool(interval[0] <= x <= interval[1])


PLACES = {"low": Range(0, 3), "high": Range(0, 3), "x": Range(0, 3)}


@pytest.mark.parametrize("rule", [inside, inside_by_row], ids=["columns", "scalar"])
def test_a_vector_is_swapped_whole(rule):
    model = CausalModel(interval, rule, inputs=PLACES)
    rng = np.random.default_rng(0)
    base, source = model.sample(rng, 500), model.sample(rng, 500)
    assert model.run(base)["interval"].shape == (500, 2)
    found = model.interchange(base, {"interval": source})
    assert found["interval"].tolist() == [[s["low"], s["high"]] for s in rows(source)]
    assert found[model.output].tolist() == [
        s["low"] <= b["x"] <= s["high"] for b, s in zip(rows(base), rows(source), strict=True)
    ]


def test_a_scalar_mechanism_is_asked_once_for_rows_that_are_alike():
    asked = []

    @scalar
    def kind(x):
        asked.append(x)
        return f"{type(x).__name__} {x}"

    for values in ([3, 1, 3, 3, 1], ["a", "b", "a"], [True, False, True]):
        asked.clear()
        model = CausalModel(kind, inputs={"x": Choice(values[:2])})
        assert model.run({"x": np.array(values)})["kind"].tolist() == [f"{type(v).__name__} {v}" for v in values]
        assert asked == values[:2]


@pytest.mark.parametrize("values", [[0.0, -0.0], [1, True]], ids=["zeros", "one and true"])
def test_values_that_only_compare_as_equal_are_rows_of_their_own(values):
    column = np.array(values, object if values[0] == 1 else float)
    assert node_of(scalar(written)).value({"x": column}, 2).tolist() == [repr(v) for v in values]


def written(x):
    return repr(x)


def test_models_with_vector_outputs_can_be_compared():
    model = CausalModel(interval, inputs={"low": Range(0, 3), "high": Range(0, 3)})

    def backwards(low, high):
        return np.stack([high, low], axis=-1)

    assert model.equivalent(model)
    assert model.difference(CausalModel(backwards, inputs=model.inputs)) == {"low": 0, "high": 1}


# --- inputs ---

TIED = {
    "free": (Inputs({"a": Range(1, 4), "b": Choice(["x", "y"])}), lambda a, b: True),
    "lower_below_upper": (Inputs({"a": Range(1, 5), "b": Range(1, 5)}, where=lambda a, b: a < b), lambda a, b: a < b),
    "two_constraints": (
        Inputs({"a": Range(0, 4), "b": Range(0, 4), "c": Bool()}, where=[lambda a, b: a < b, lambda b, c: (b > 2) | c]),
        lambda a, b, c: a < b and (b > 2 or c),
    ),
    "untied_third": (
        Inputs({"a": Range(0, 2), "z": Bool(), "b": Range(0, 2)}, where=lambda b, a: b == a),
        lambda a, z, b: a == b,
    ),
    "decimals": (Inputs({"a": Range(0.05, 0.35, 0.1), "b": Range(0, 1, 0.25)}, where=lambda a, b: a > b), lambda a, b: a > b),
}


@pytest.mark.parametrize("name", TIED)
def test_enumeration_and_size_equal_a_loop_over_the_product(name):
    inputs, allowed = TIED[name]
    product = itertools.product(*(domain.values().tolist() for domain in inputs.domains.values()))
    wanted = [setting for setting in product if allowed(*setting)]
    found = [tuple(row.values()) for row in rows(inputs.enumerate())]
    assert sorted(found) == sorted(wanted)
    assert inputs.size == len(wanted)


@pytest.mark.parametrize("name", TIED)
def test_samples_are_allowed_valid_and_reach_every_setting(name):
    inputs, allowed = TIED[name]
    drawn = inputs.sample(np.random.default_rng(0), 40 * inputs.size)
    assert len(inputs.validate(drawn)["a"]) == 40 * inputs.size
    seen = {tuple(row.values()) for row in rows(drawn)}
    assert all(allowed(*setting) for setting in seen)
    assert len(seen) == inputs.size


def test_the_same_seed_draws_the_same_settings():
    inputs, _ = TIED["two_constraints"]
    one, two, other = (inputs.sample(np.random.default_rng(seed), 50) for seed in (0, 0, 1))
    assert rows(one) == rows(two) != rows(other)


def test_a_joint_sampler_is_used_filtered_and_completed_from_the_domains():
    def draw(rng, n):
        a = rng.integers(0, 90, n)
        return {"a": a, "b": a + rng.integers(-1, 3, n) * 5}

    domains = {"a": Range(0, 99), "b": Range(-5, 99), "c": Choice("xy")}
    drawn = Inputs(domains, where=lambda a, b: a < b, draw=draw).sample(np.random.default_rng(0), 300)
    assert set((drawn["b"] - drawn["a"]).tolist()) == {5, 10}
    assert set(drawn["c"].tolist()) == {"x", "y"}


MEMBERS = {
    "whole numbers": (Range(-1, 3), [-2, -1, 0.5, 2, 3, 4], [False, True, False, True, True, False]),
    "steps": (Range(1, 6, 2), [-1, 1, 2, 5, 6, 7], [False, True, False, True, False, False]),
    "cents": (Range(0.05, 0.2, 0.05), [0.0, 0.05, 0.1 + 0.05, 0.2, 0.25, 0.06], [False, True, True, True, False, False]),
    "interval": (Uniform(-1, 1), [-1.5, -1, 0.3, 1.5], [False, True, True, False]),
    "words": (Choice(["a", "b"]), ["a", "c", "B", "b"], [True, False, False, True]),
    "tuples": (Choice([(1, 2), (3,)]), [(1, 2), (2, 1), (3,), (1,)], [True, False, True, False]),
    "sampler": (Sampler(lambda rng, n: rng.uniform(0, 2, n), accepts=lambda v: v < 2), [1.0, 3.0], [True, False]),
    "anything": (Sampler(lambda rng, n: rng.normal(size=n)), [1.0, 3.0], [True, True]),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_domain_contains_its_values_up_to_both_ends(name):
    domain, values, wanted = MEMBERS[name]
    assert domain.contains(as_column(values)).tolist() == wanted
    if domain.size is not None:
        assert domain.contains(domain.values()).all()
        assert len(domain.values()) == domain.size
    assert domain.contains(domain.sample(np.random.default_rng(0), 50)).all()


@pytest.mark.parametrize("domain", [Uniform(-1, 1), Sampler(lambda rng, n: rng.normal(size=n))], ids=["uniform", "sampler"])
def test_what_cannot_be_counted_is_sampled_but_not_enumerated(domain):
    model = CausalModel(lambda a: a > 0, inputs={"a": domain})
    assert model.size is None
    assert len(model.sample(np.random.default_rng(0), 7)["a"]) == 7
    with pytest.raises(DasError, match="cannot be enumerated"):
        model.enumerate()


def test_inputs_too_many_to_count_can_still_be_sampled_and_compared():
    numbers = {name: Range(0, 999) for name in "abc"}
    model = CausalModel(lambda a, b, c: a + b + c, inputs=Inputs(numbers, where=lambda a, b, c: (a < b) & (b < c)))
    assert model.equivalent(model, n=100)


# --- comparing models ---


def test_equal_models_are_equivalent_whatever_lies_between():
    def apart(left, right):
        return left ^ right

    def together(apart):
        return ~apart

    assert MODELS["booleans"][0].equivalent(CausalModel(apart, together, inputs=BOOLEANS))


@pytest.mark.parametrize("n", [10_000, 900], ids=["every setting", "drawn settings"])
def test_difference_names_a_setting_on_which_outputs_differ(n):
    numbers = {"a": Range(0, 29), "b": Range(0, 29), "c": Range(0, 2)}
    one = CausalModel(lambda a, b, c: a >= b, inputs=numbers)
    two = CausalModel(lambda a, b, c: (a > b) | (c == 0) & (a == b), inputs=numbers)
    found = one.difference(two, n=n)
    assert not one.equivalent(two, n=n)
    assert found["a"] == found["b"]
    assert found["c"] > 0


def test_a_single_setting_in_thousands_is_found_by_enumeration():
    numbers = {"a": Range(0, 99), "b": Range(0, 98)}
    rare = CausalModel(lambda a, b: (a == 98) & (b == 1), inputs=numbers)
    assert rare.difference(CausalModel(lambda a, b: a < 0, inputs=numbers)) == {"a": 98, "b": 1}


# --- the four-dict form of pyvene and MIB ---

FOUR = {
    "variables": ["x", "y", "sum", "carry", "raw_output", "raw_input"],
    "values": {"x": range(10), "y": list(range(10)), "sum": range(19), "carry": [0, 1]},
    "parents": {"x": [], "y": [], "sum": ["x", "y"], "carry": ["sum"], "raw_output": ["sum"], "raw_input": ["x", "y"]},
    "functions": {
        "x": lambda: 3,
        "y": lambda: 4,
        "sum": lambda x, y: x + y,
        "carry": lambda total: int(total > 9),
        "raw_output": lambda total: str(total),
        "raw_input": lambda x, y: f"{x}+{y}=",
    },
}


def test_four_dicts_with_row_functions_make_the_same_model():
    model = CausalModel.from_dicts(**FOUR)
    assert (model.output, model.size, model.inputs.names) == ("raw_output", 100, ["x", "y"])
    settings = model.enumerate()
    run = model.run(settings)
    assert run["raw_output"].tolist() == [str(x + y) for x in range(10) for y in range(10)]
    assert run["raw_input"].tolist() == [f"{x}+{y}=" for x in range(10) for y in range(10)]
    swapped = model.interchange({"x": [1], "y": [2]}, {"sum": {"x": [9], "y": [8]}})
    assert row_of(swapped, 0) == {"x": 1, "y": 2, "sum": 17, "carry": 1, "raw_output": "17", "raw_input": "1+2="}


def test_an_input_without_values_is_drawn_from_its_function():
    turns = itertools.cycle(["heads", "tails"])
    model = CausalModel.from_dicts(
        ["coin", "shout"], {"coin": None}, {"shout": ["coin"]}, {"coin": lambda: next(turns), "shout": str.upper}
    )
    assert model.size is None
    assert model.sample(np.random.default_rng(0), 4)["coin"].tolist() == ["heads", "tails", "heads", "tails"]
    assert model.run({"coin": ["tails"]})["shout"].tolist() == ["TAILS"]


@pytest.mark.parametrize(
    "change",
    [
        {"output": "carry"},
        {"variables": ["x", "y", "sum", "carry"], "parents": {"sum": ["x", "y"], "carry": ["sum"]}},
    ],
    ids=["asked for", "the only sink"],
)
def test_four_dicts_find_the_output(change):
    assert CausalModel.from_dicts(**FOUR | change).output == "carry"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parents": FOUR["parents"] | {"carry": ["summ"]}}, "unknown variable 'summ': did you mean 'sum'?"),
        ({"parents": FOUR["parents"] | {"cary": ["sum"]}}, "unknown variable 'cary': did you mean 'carry'?"),
        ({"output": "carrie"}, "which variable is the output? Give output=, one of: carry, raw_output, raw_input"),
        ({"values": {"x": [1]}, "functions": {"sum": max}}, "input 'y' has neither values nor a function"),
        ({"functions": {"sum": max}}, "variable 'carry' has parents but no function"),
        ({"parents": FOUR["parents"] | {"sum": ["x", "carry"]}}, "the mechanisms form a cycle: carry, raw_output, sum"),
        (
            {"variables": ["x", "y", "sum", "raw_input"], "parents": {"sum": ["x", "y"], "raw_input": ["x", "y"]}},
            "which variable is the output? Give output=, one of: sum, raw_input",
        ),
    ],
)
def test_four_dicts_that_do_not_fit_say_what_is_wrong(change, words):
    with pytest.raises(DasError, match=re.escape(words)):
        CausalModel.from_dicts(**FOUR | change)


# --- the picture ---


def test_draw_gives_axes_with_every_variable_above_its_parents():
    model = MODELS["child_before_parent"][0]
    ax = model.draw()
    assert isinstance(ax, Axes)
    height = {text.get_text(): text.get_position()[1] for text in ax.texts if text.get_text()}
    assert set(height) == set(model.variables)
    assert all(height[parent] < height[name] for name in model.variables for parent in model.parents(name))
    assert model.draw(ax) is ax


# --- errors ---


def plus(a, b):
    return a + b


def loop(knot, a):
    return knot + a


def knot(loop):
    return loop


def stray(a, bb):
    return a + bb


def total(a):
    return a.sum()


def short(a):
    return a[1:]


def broken(a):
    return np.where(a > 0, 1, 0) if a > 0 else 0


def own(own):
    return own


AB = {"a": Range(0, 3), "b": Range(0, 3)}
FAR = {"a": Range(0, 10**6), "b": Range(0, 10**6)}
ONE = {"a": [0, 1], "b": [2, 3]}
SUM = CausalModel(plus, inputs=AB)
ORDERED = CausalModel(plus, inputs=Inputs(AB, where=lambda a, b: a < b))


def on_a(mechanism):
    return CausalModel(mechanism, inputs={"a": Range(0, 3)})


def drawn(domains, **options):
    return Inputs(domains, **options).sample(np.random.default_rng(0), 9)


ERRORS = {
    "no mechanism": (lambda: CausalModel(inputs=AB), "at least one mechanism"),
    "cycle": (lambda: CausalModel(loop, knot, inputs=AB), "cycle: knot, loop"),
    "its own parent": (lambda: CausalModel(own, inputs=AB), "cycle: own"),
    "unknown parent": (lambda: CausalModel(stray, inputs=AB), "unknown parent of 'stray' 'bb': did you mean 'b'?"),
    "duplicate mechanism": (lambda: CausalModel(plus, plus, inputs=AB), "variable 'plus' is defined twice"),
    "duplicate of an input": (lambda: CausalModel(plus, inputs={**AB, "plus": Bool()}), "variable 'plus' is defined twice"),
    "outside the domain": (lambda: SUM.run({"a": [0, 7], "b": [0, 0]}), "input 'a' is", "7", "in row 1: expected", "Range"),
    "between the steps": (lambda: SUM.run({"a": [0.5], "b": [0]}), "input 'a' is", "0.5", "in row 0"),
    "not a number": (lambda: SUM.run({"a": ["x"], "b": [0]}), "input 'a' is", "'x'", "in row 0"),
    "nan": (lambda: SUM.run({"a": [float("nan")], "b": [0]}), "input 'a' is", "nan", "in row 0"),
    "not an option": (
        lambda: CausalModel(louder, inputs={"word": Choice(["cat"])}).run({"word": ["cow"]}),
        "'cow'",
        "Choice(['cat'])",
    ),
    "missing input": (lambda: SUM.run({"a": [1]}), "input 'b' is missing: given a"),
    "unknown input": (lambda: SUM.run({**ONE, "bb": [0, 0]}), "unknown input 'bb': did you mean 'b'?"),
    "columns of two lengths": (lambda: SUM.run({"a": [1], "b": [1, 2]}), "columns differ in length: {'a': 1, 'b': 2}"),
    "constraint broken": (lambda: ORDERED.run({"a": [0, 3], "b": [1, 2]}), "row 1 breaks a constraint", "'a': 3, 'b': 2"),
    "constraint on a stranger": (
        lambda: Inputs(AB, where=lambda a, bb: a < bb),
        "unknown input in a constraint 'bb': did you mean 'b'?",
    ),
    "constraint never met": (lambda: drawn(FAR, where=lambda a, b: a == b), "meet the constraints", "joint sampler"),
    "joint sampler with a stranger": (
        lambda: drawn(AB, draw=lambda rng, n: {"aa": np.zeros(n)}),
        "unknown input from the joint sampler 'aa': did you mean 'a'?",
    ),
    "joint sampler of the wrong length": (
        lambda: drawn(AB, draw=lambda rng, n: {"a": np.zeros(3)}),
        "the joint sampler gave an array of shape (3,): expected 9 rows",
    ),
    "mechanism gives one number": (
        lambda: on_a(total).run({"a": [1, 2]}),
        "mechanism 'total' gave an array of shape (): expected 2 rows",
    ),
    "mechanism drops rows": (
        lambda: on_a(short).run({"a": [1, 2]}),
        "mechanism 'short' gave an array of shape (1,): expected 2 rows",
    ),
    "mechanism raises": (
        lambda: on_a(broken).run({"a": [1, 2]}),
        "mechanism 'broken' failed on 2 rows with ValueError: ",
        "@das.scalar",
    ),
    "scalar mechanism raises": (
        lambda: on_a(scalar(lambda a: 1 // a)).run({"a": [1, 0]}),
        "failed on 2 rows with ZeroDivisionError",
    ),
    "unknown variable in an interchange": (
        lambda: SUM.interchange(ONE, {"pluss": ONE}),
        "unknown variable 'pluss': did you mean 'plus'?",
    ),
    "unknown variable in an intervention": (lambda: SUM.intervene(ONE, {"c": [1, 1]}), "unknown variable 'c'"),
    "source of another length": (
        lambda: SUM.interchange(ONE, {"plus": {"a": [1], "b": [1]}}),
        "the intervention on 'plus' gave an array of shape (1,): expected 2 rows",
    ),
    "parents of a stranger": (lambda: SUM.parents("pluss"), "unknown variable 'pluss': did you mean 'plus'?"),
    "comparison over other inputs": (
        lambda: SUM.difference(MODELS["booleans"][0]),
        "different inputs: ['a', 'b'] and ['left', 'right']",
    ),
    "too many to enumerate": (
        lambda: Inputs({name: Range(0, 999) for name in "abc"}).enumerate(),
        "1,000,000,000 settings are too many to enumerate",
    ),
    "backward range": (lambda: Range(3, 1), "Range(low=3, high=1, step=1): expected low <= high"),
    "range without a step": (lambda: Range(1, 3, 0), "step > 0"),
    "empty choice": (lambda: Choice([]), "at least one option"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_says_what_was_given_and_what_was_expected(name):
    make, *words = ERRORS[name]
    with pytest.raises(DasError) as caught:
        make()
    for word in words:
        assert word in str(caught.value)


def test_a_mechanism_cannot_change_its_parents():
    def doubled(a):
        a *= 2
        return a

    given = np.array([1, 2])
    with pytest.raises(DasError, match=r"mechanism 'doubled' failed on 2 rows with ValueError: .*read-only"):
        on_a(doubled).run({"a": given})
    assert given.tolist() == [1, 2]


STRANGE = {
    "a number for a column": lambda: SUM.run({"a": 1, "b": 2}),
    "nothing for a column": lambda: SUM.run({"a": None, "b": [1]}),
    "an array without rows": lambda: SUM.run({"a": np.asarray(1), "b": [1]}),
    "a list for an option": lambda: CausalModel(parity, inputs={"a": Choice([1, 2])}).run({"a": [[1], [2]]}),
    "a model without inputs": lambda: CausalModel(lambda: np.ones(1), inputs={}).run({}),
    "numbers for booleans": lambda: MODELS["booleans"][0].run({"left": [0, 1], "right": [1, 0]}),
}


@pytest.mark.parametrize("name", STRANGE)
def test_values_that_are_no_columns_of_their_domain_are_an_error_for_people(name):
    with pytest.raises(DasError):
        STRANGE[name]()


def test_a_number_of_a_range_is_taken_as_the_range_draws_it():
    inputs = Inputs({"whole": Range(0, 9), "tenths": Range(0, 1, 0.1)})
    taken = inputs.validate({"whole": [2.0, 3.0], "tenths": [0.1 + 0.2, 1]})
    assert [str(value) for value in taken["whole"].tolist()] == ["2", "3"]
    assert taken["tenths"].tolist() == [0.3, 1.0]
    drawn = inputs.sample(np.random.default_rng(0), 1000)
    assert all(np.array_equal(column, drawn[name]) for name, column in inputs.validate(drawn).items())
