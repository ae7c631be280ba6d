"""A prompt is its text: splits, doubles and labels go by what the network reads."""

import random

import numpy as np
import pytest
import torch
import transformers

import das
from das import (
    Bool,
    CausalModel,
    Choice,
    DasError,
    Experiment,
    Hypothesis,
    Inputs,
    Prompt,
    Range,
    Sampler,
    Task,
    Uniform,
    scalar,
)
from das.causal.columns import concat, differ
from das.judge.evidence import questions
from das.pairs.dataset import Dataset
from das.pairs.drawer import make_pairs
from das.run.material import SPLITS
from das.run.table import all_pairs, prompt_codes
from das.task.identity import identities
from das.task.texts import Texts
from das.task.tokenizer import make_tokenizer

YES_NO = {True: " yes", False: " no"}
NAMES = ["Ann", "Bob", "Cid", "Dan", "Eve", "Flo", "Gus", "Hal", "Ann", "Bob", "Cid", "Dan"]
SIZES = {"train_pairs": 200, "val_pairs": 50, "test_pairs": 100}


def network(texts):
    tokenizer = make_tokenizer([*texts, "yes no ?"], whole_numbers=True)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=2, eos_token_id=None, **shape)
    return das.LM(transformers.LlamaForCausalLM(config), tokenizer)


def material(task, lm, **changes):
    return Experiment(task, lm, layers=[0], positions=["last"], **(SIZES | changes)).material()


def texts_of(task, pairs):
    return {text for table in (pairs.base, *pairs.sources.values()) for text in task.render(table).texts}


def same(a, b):
    return a == b


def out(same):
    return same


def above(x, y):
    return np.floor(10 * x) > np.floor(10 * y)


def told(above):
    return above


def twice_a_name():
    inputs = {name: Choice(NAMES) for name in "abc"}
    return Task(Prompt("{a} {b} {c} ?", YES_NO), {"h": Hypothesis(CausalModel(same, out, inputs=inputs), "same")}), NAMES


def tenths(rng, n):
    return np.floor(10 * rng.random(n)) / 10 + 0.04 * rng.random(n)


def written_alike():
    """Real numbers whose first decimal decides and is all that is written."""
    inputs = {"x": Sampler(tenths), "y": Sampler(tenths)}
    texts = [f"is {x / 10:.1f} more than" for x in range(11)]
    task = Task(
        Prompt("is {x:.1f} more than {y:.1f} ?", YES_NO), {"h": Hypothesis(CausalModel(above, told, inputs=inputs), "above")}
    )
    return task, texts


def cut():
    """Words of which one letter is written."""
    words = [letter + rest for letter in "abcdefghijkl" for rest in ("x", "yy", "zzz")]

    def same(a, b):
        return np.array([x[0] == y[0] for x, y in zip(a, b, strict=True)])

    inputs = {"a": Choice(words), "b": Choice(words)}
    return Task(Prompt("{a:.1} {b:.1} ?", YES_NO), {"h": Hypothesis(CausalModel(same, out, inputs=inputs), "same")}), [
        *"abcdefghijkl"
    ]


def spaced():
    """Texts that this tokenizer does not tell apart."""

    def same(a, b):
        return np.array([x.strip() == y.strip() for x, y in zip(a, b, strict=True)])

    inputs = {"a": Choice([*"abcdefgh", *(f" {c}  " for c in "abcdefgh")]), "b": Choice([*"abcdefgh"])}
    return Task(Prompt("{a} {b} ?", YES_NO), {"h": Hypothesis(CausalModel(same, out, inputs=inputs), "same")}), [*"abcdefgh"]


@pytest.mark.parametrize("make", [twice_a_name, written_alike, cut, spaced])
def test_no_text_is_in_two_splits(make):
    task, texts = make()
    lm = network(texts)
    m = material(task, lm)
    read = [set(Texts(sorted(texts_of(task, m.pairs[split]["h"])), {}).identities(lm.tokenizer).tolist()) for split in SPLITS]
    assert min(map(len, read)) > 5
    assert len(set.union(*read)) == sum(map(len, read))
    ids = task.render(m.pool).identities(lm.tokenizer)
    assert len(set(ids.tolist())) == len(ids)


def test_a_value_that_is_given_twice_counts_once_and_is_drawn_twice_as_often():
    domain = Choice(["a", "b", "a"])
    assert (domain.size, domain.values().tolist()) == (2, ["a", "b"])
    assert (domain.sample(np.random.default_rng(0), 3000) == "a").mean() == pytest.approx(2 / 3, abs=0.03)
    task, _ = twice_a_name()
    assert task.model.size == len(task.model.enumerate()["a"]) == 8**3


def test_a_set_of_values_has_one_order_in_every_process():
    words = {"pear", "fig", "apple"}
    assert Choice(words).options.tolist() == sorted(words)
    assert Choice({"a", 1, (2, 3)}).values().tolist() == sorted(["a", 1, (2, 3)], key=repr)


def test_identity_is_of_tokens_whatever_stands_around_them():
    lm = network(["a b c d"])
    prompts = Prompt("{x}", YES_NO).render({"x": np.array(["a b", "a  b", "a b c", "a b"])})
    ids = prompts.identities(lm.tokenizer)
    assert ids[0] == ids[1] == ids[3] != ids[2]
    padded = das.task.encoded.encode(prompts, lm.tokenizer).padded(9, pad=1)
    assert padded.identities().tolist() == ids.tolist()


def rough(x, y):
    return x > y


def told_rough(rough):
    return rough


def hidden(x):
    return np.round(100 * x).astype(int) % 2 == 1


def flag(y):
    return y > 0.5


def both(hidden, flag):
    return hidden & flag


def two_answers():
    model = CausalModel(rough, told_rough, inputs={"x": Uniform(0, 2), "y": Uniform(0, 2)})
    texts = [f"is {i / 10:.1f} more than" for i in range(21)]
    return Task(Prompt("is {x:.1f} more than {y:.1f} ?", YES_NO), {"h": Hypothesis(model, "rough")}), texts


def two_counterfactuals():
    """The answer is always no, so no text has two; but a swap puts in what the words leave out."""
    inputs = Inputs({"x": Range(0, 0.99, 0.01), "y": Range(0, 1, 0.1)}, where=lambda x, y: ~((y > 0.5) & (hidden(x))))
    model = CausalModel(hidden, flag, both, inputs=inputs)
    texts = [f"{i / 10:.1f} with" for i in range(11)]
    return Task(Prompt("{x:.1f} with {y:.1f} ?", YES_NO), {"h": Hypothesis(model, "hidden")}), texts


@pytest.mark.parametrize(
    ("make", "words"),
    [(two_answers, "is answered False"), (two_counterfactuals, "is, with its hidden swapped into another prompt")],
)
def test_a_text_with_two_answers_is_refused_and_shows_both_settings(make, words):
    task, texts = make()
    tokenizer = network(texts).tokenizer
    with pytest.raises(DasError, match="one prompt has two right answers") as caught:
        task.check(tokenizer)
    assert words in str(caught.value)
    assert str(caught.value).count("'x': ") == 2


def test_settings_of_one_text_that_nothing_tells_apart_are_one_prompt():
    task, texts = written_alike()
    lm = network(texts)
    drawn = task.model.sample(np.random.default_rng(0), 400)
    ids = identities(task.variant("base"), task.hypotheses.values(), lm.tokenizer, drawn)
    assert len(set(ids.tolist())) == len(set(task.render(drawn).texts)) < 150


def test_equal_values_that_are_written_differently_are_two_prompts():
    """1 and True are equal, their texts are not: each pair is asked in its own words."""

    def truth(a, b):
        return np.array([bool(x) and bool(y) for x, y in zip(a, b, strict=True)])

    def said(truth):
        return truth

    inputs = {name: Choice([1, True, 0, False]) for name in "ab"}
    task = Task(Prompt("{a} {b} ?", YES_NO), {"h": Hypothesis(CausalModel(truth, said, inputs=inputs), "truth")})
    tokenizer = network(["1 0 True False"]).tokenizer
    pairs = make_pairs(task.hypotheses["h"], task.model.enumerate(), 64, np.random.default_rng(0))
    data = Dataset.make(task, tokenizer, {"h": pairs}, ["last"])
    read = [" ".join(tokenizer.convert_ids_to_tokens(row)) for row in data.prompts.ids[data.pairs["h"].base]]
    assert [text.removeprefix("<s> ") for text in read] == task.render(pairs.base).texts
    assert len(set(read)) > 8


def test_differ_goes_by_values_not_by_how_numpy_would_write_them():
    one, text = np.array([1, 2]), np.array(["1", "2"])
    assert differ(one, text).all()
    assert differ(one.astype(object), text).all()
    assert not differ(one, np.array([1.0, 2.0])).any()
    assert not differ(np.array([True, False]), np.array([1, 0])).any()
    assert differ(np.array([2**53 + 1]), np.array([float(2**53)])).all()
    assert differ(np.zeros((2, 3)), np.zeros((2, 2))).all()
    assert [type(v) for v in concat([{"a": one}, {"a": text}, {"a": np.array([True])}])["a"]] == [int, int, str, str, bool]


def test_answers_that_write_equal_values_differently_are_refused():
    @scalar
    def odd(a):
        return True if a % 2 else 0 if a % 4 else False

    def last(odd):
        return odd

    model = CausalModel(odd, last, inputs={"a": Range(0, 20)})
    tokenizer = make_tokenizer([f"{i} ? True False" for i in range(21)], whole_numbers=True)
    with pytest.raises(DasError, match=r"the outputs (0 and False|False and 0) are one value"):
        Task(Prompt("{a} ?", " {}".format), {"h": Hypothesis(model, "odd")}).check(tokenizer)
    Task(Prompt("{a} ?", {True: " True", False: " False"}), {"h": Hypothesis(model, "odd")}).check(tokenizer)


def test_a_mechanism_that_changes_its_mind_is_refused():
    @scalar
    def coin(a):
        return random.random() < 0.5

    def last(coin):
        return coin

    model = CausalModel(coin, last, inputs={"a": Range(0, 20)})
    task = Task(Prompt("{a} ?", YES_NO), {"h": Hypothesis(model, "coin")})
    with pytest.raises(DasError, match="'coin' has other values when it is computed again"):
        task.check(network([str(i) for i in range(21)]).tokenizer)


# --- few prompts ---


def low(i):
    return i % 2 == 0


def done(low):
    return low


def few(n):
    model = CausalModel(low, done, inputs={"i": Range(0, n - 1)})
    return Task(Prompt("even {i} ?", YES_NO), {"h": Hypothesis(model, "low")}), network([f"even {i}" for i in range(n)])


@pytest.mark.parametrize("n", [6, 7, 8, 13, 21])
def test_a_task_of_few_prompts_says_which_settings_would_help_and_they_do(n):
    task, lm = few(n)
    with pytest.raises(DasError, match=f"the task has {n} that can be used") as caught:
        Experiment(task, lm, layers=[0]).material()
    advice = str(caught.value).partition("for instance, ")[2].split(", ")
    found = material(task, lm, **{name: int(size) for name, size in (part.split() for part in advice)})
    assert all(len(set(found.pairs[split]["h"].base["i"].tolist())) >= 1 for split in SPLITS)


def test_four_prompts_are_too_few_for_three_splits():
    def xor(a, b):
        return a ^ b

    def last(xor):
        return xor

    task = Task(
        Prompt("{a} or {b} ?", YES_NO), {"h": Hypothesis(CausalModel(xor, last, inputs={"a": Bool(), "b": Bool()}), "xor")}
    )
    with pytest.raises(DasError, match=r"the task has 4 that can be used\. It takes 6 at the least"):
        material(task, network(["True or False"]))


# --- what a prompt shows ---


def longer(a, b):
    return np.char.str_len(a) > np.char.str_len(b)


def ended(longer):
    return longer


MAYBE = CausalModel(longer, ended, inputs={"a": Choice(["", "x", "x x"]), "b": Choice(["y", "y y y y"])})


def test_a_field_may_be_empty_where_nobody_asks_for_its_place():
    tokenizer = make_tokenizer(["x y , yes no ?"])
    task = Task(Prompt("{a} , {b} ?", YES_NO), {"h": Hypothesis(MAYBE, "longer")})
    task.check(tokenizer, ["b.last", "last"])
    with pytest.raises(DasError, match="field 'a' vanishes"):
        task.check(tokenizer, ["a.last"])


def test_a_field_whose_text_is_not_read_is_refused():
    tokenizer = make_tokenizer(["y , yes no ?"])
    tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Replace("x", "")
    with pytest.raises(DasError, match="field 'a' vanishes"):
        Task(Prompt("{a} , {b} ?", YES_NO), {"h": Hypothesis(MAYBE, "longer")}).check(tokenizer)


def test_a_field_that_is_computed_from_an_input_shows_it():
    def word(i):
        return np.array(["zero", "one", "two", "three"])[i]

    task = Task(Prompt("{word} ?", YES_NO), {"h": Hypothesis(CausalModel(word, low, done, inputs={"i": Range(0, 3)}), "low")})
    assert set(task.render(task.model.enumerate()).texts) == {"zero ?", "one ?", "two ?", "three ?"}
    task.check(network(["zero one two three"]).tokenizer)


def test_parts_of_an_input_are_fields_and_places():
    parts = {"question": [("red", "ball"), ("blue", "car")], "s": ["A", "B"]}
    model = CausalModel.from_dicts(
        ["question", "s", "p", "answer"], parts, {"p": ["question"], "answer": ["p", "s"]},
        {"p": lambda q: q[0], "answer": lambda p, s: p == "red"},
    )  # fmt: skip
    task = Task(Prompt("The {question[1]} is {question[0]} . {s} ?", YES_NO), {"h": Hypothesis(model, "p")})
    tokenizer = network(["The ball car is red blue . A B"]).tokenizer
    task.check(tokenizer, ["question[0].last", "question[1].first", "last"])
    assert task.tokens_at(tokenizer, ["question[1].first"])["question[1].first"] in ("ball", "car")
    with pytest.raises(DasError, match=r"field \{question\[2\]\}"):
        Prompt("{question[2]}", YES_NO).render(model.enumerate())


def test_several_outputs_of_four_dicts_are_one_tuple():
    parents = {"sum": ["a", "b"], "carry": ["a", "b"]}
    functions = {"sum": lambda a, b: (a + b) % 10, "carry": lambda a, b: (a + b) // 10}
    model = CausalModel.from_dicts(
        ["a", "b", "sum", "carry"], {v: range(10) for v in "ab"}, parents, functions, ["carry", "sum"]
    )
    assert model.output == "carry+sum"
    assert model.run({"a": [7, 1], "b": [5, 2]})[model.output].tolist() == [(1, 2), (0, 3)]


# --- samplers of one's own ---


def by_python():
    return CausalModel.from_dicts(
        ["a", "c"], {"a": None}, {"c": ["a"]}, {"a": lambda: random.randint(0, 99), "c": lambda a: a > 50}
    )


def by_empty_set():
    return CausalModel.from_dicts(
        ["a", "c"], {"a": set()}, {"c": ["a"]}, {"a": lambda: random.randint(0, 99), "c": lambda a: a > 50}
    )


def by_numpy():
    draw = lambda rng, n: np.random.randint(0, 99, n)  # noqa: E731, NPY002
    return CausalModel(lambda a: a > 50, inputs={"a": Sampler(draw)})


def jointly():
    draw = lambda rng, n: {"a": [random.choice(range(99)) for _ in range(n)]}  # noqa: E731
    return CausalModel(lambda a: a > 50, inputs=Inputs({"a": Range(0, 99)}, draw=draw))


@pytest.mark.parametrize("make", [by_python, by_empty_set, by_numpy, jointly])
def test_what_a_sampler_draws_follows_from_the_generator_alone(make):
    def drawn(seed):
        rng = np.random.default_rng(seed)
        return [make().sample(rng, 40)["a"].tolist() for _ in range(2)]

    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, other = drawn(0), drawn(1)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    random.seed(8)
    assert drawn(0) == first
    assert first[0] != first[1]
    assert first != other


def test_what_is_drawn_from_the_generator_itself_is_as_it_was():
    draw = lambda rng, n: rng.integers(0, 10**6, n)  # noqa: E731
    found = CausalModel(lambda a: a > 50, inputs={"a": Sampler(draw)}).sample(np.random.default_rng(3), 20)["a"]
    assert found.tolist() == draw(np.random.default_rng(3), 20).tolist()


# --- pairs and what is asked of a pool ---


def test_pairs_keep_the_identity_of_base_and_sources():
    task, texts = twice_a_name()
    lm = network(texts)
    m = material(task, lm)
    table = all_pairs(m.pairs, m.data)
    found = prompt_codes(table[table["split"] == "test"])
    pairs = m.pairs["test"]["h"]
    assert found["base"].tolist() == task.render(pairs.base).identities(lm.tokenizer).tolist()
    assert found["source.same"].tolist() == task.render(pairs.sources["same"]).identities(lm.tokenizer).tolist()


@pytest.mark.parametrize("seed", [1, 4])
def test_the_prefix_is_that_of_every_prompt_that_may_be_asked(seed):
    """A prompt in sixty begins otherwise, and with these seeds it is in the test pool and in no pair."""
    inputs = {"a": Choice(["Ann"] * 60 + ["Bob"]), "b": Choice([*NAMES, *map(str, range(60))]), "c": Choice(NAMES)}
    task = Task(Prompt("{a} {b} {c} ?", YES_NO), {"h": Hypothesis(CausalModel(same, out, inputs=inputs), "same")})
    lm = network([*NAMES, *map(str, range(60))])
    m = material(task, lm, seed=seed, train_pairs=20, val_pairs=20, test_pairs=20)
    assert {text.split()[0] for split in SPLITS for text in texts_of(task, m.pairs[split]["h"])} == {"Ann"}
    assert "Bob" in m.pool["a"]
    assert lm.tokenizer.convert_ids_to_tokens(m.prefix) == ["<s>"]
    asked = Dataset.make(task, lm.tokenizer, questions(task, ["h"], m.pool, seed), ["last"]).prompts
    assert lm.tokenizer.convert_tokens_to_ids("Bob") in asked.ids
    m.engine.capture(asked, [("block_output", 0)], first=int(asked.positions["last"].min()))
