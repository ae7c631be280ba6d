"""Whatever is given from Python that cannot be used ends in one DasError, on one line, that names what was given."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import das
from das import (
    LM,
    Bool,
    Boundless,
    CausalModel,
    Chat,
    Choice,
    Context,
    DasError,
    Experiment,
    Family,
    FewShot,
    FitSettings,
    Fixed,
    Given,
    Hypothesis,
    Inputs,
    Nested,
    Offset,
    Prompt,
    Range,
    Reword,
    Sampler,
    Settings,
    Shift,
    Task,
    Uniform,
    load_task,
    make_pairs,
)  # fmt: skip
from das.causal.node import scalar
from das.pairs.identify import identify
from das.task.plain_shifts import named_shifts, parse_shift
from das.task.positions import Position, expand_positions
from das.use.run import Run

RNG = np.random.default_rng(0)


def larger(a, b):
    return a > b


def told(larger):
    return larger


def broken(*_):
    raise ValueError("two\nlines")


def stops(*_):
    raise SystemExit(0)


DIGITS = {"a": Range(0, 9), "b": Range(0, 9)}
MODEL = CausalModel(larger, told, inputs=DIGITS)
WORDS = {True: " yes", False: " no"}
PROMPT = Prompt("{a} > {b} ?", WORDS)
HYPOTHESIS = Hypothesis(MODEL, "larger")
TASK = Task(PROMPT, {"larger": HYPOTHESIS})
POOL = MODEL.enumerate()


def fit(**given):
    return lambda: FitSettings("x", **given)


def settings(**given):
    return lambda: Settings(**{"task": "t", "lm": "x", **given})


def experiment(**given):
    return lambda: Experiment(**{"task": TASK, "lm": "price-tagger-tiny", **given})


def drawn(inputs):
    return lambda: CausalModel(larger, told, inputs=inputs).sample(RNG, 5)


def task(**given):
    return lambda: Task(**{"prompt": PROMPT, "hypotheses": {"larger": HYPOTHESIS}, **given})


def called(name):
    return task(hypotheses={name: HYPOTHESIS})


def shift_called(name):
    return task(shifts={name: Offset(2)})


def under(change):
    return lambda: TASK.under(change)


NOTHING = object()
NUMBERS = {
    "range of texts": (lambda: Range("a", "b"), "'a'"),
    "endless range": (lambda: Range(0, math.inf), "inf"),
    "range of nan": (lambda: Range(math.nan, 1), "nan"),
    "range of nothing": (lambda: Range(None, 3), "None"),
    "range of truths": (lambda: Range(False, True), "False"),
    "range without end": (lambda: Range(0, 1e300), "1e+300"),
    "range of tiny steps": (lambda: Range(0, 9, 1e-300), "1e-300"),
    "range backwards": (lambda: Range(3, 1), "low=3"),
    "step of inf": (lambda: Range(0, 1, math.inf), "inf"),
    "no step": (lambda: Range(0, 1, 0), "step=0"),
    "uniform of texts": (lambda: Uniform("a"), "'a'"),
    "endless uniform": (lambda: Uniform(0, math.inf), "inf"),
    "uniform backwards": (lambda: Uniform(2, 1), "low=2"),
    "choice of nothing": (lambda: Choice(None), "None"),
    "choice of a number": (lambda: Choice(3), "3"),
    "empty choice": (lambda: Choice(set()), "none"),
    "sampler of a number": (lambda: Sampler(5), "5"),
    "accepts of a text": (lambda: Sampler(broken, "x"), "'x'"),
    "negative draws": (lambda: MODEL.sample(RNG, -1), "-1"),
    "half a draw": (lambda: MODEL.sample(RNG, 1.5), "1.5"),
    "draws without end": (lambda: MODEL.sample(RNG, 10**12), "10"),
    "seed for a generator": (lambda: MODEL.sample(5, 5), "5"),
    "offset of none": (lambda: Offset(0), "0"),
    "offset without end": (lambda: Offset(10**9), "1000000000"),
    "long text, often": (lambda: Offset(1000, "x" * 1000), "1000000"),
    "offset of a text": (lambda: Offset("x"), "'x'"),
    "offset of a true": (lambda: Offset(True), "True"),
    "offset by a number": (lambda: Offset(2, 5), "5"),
    "few shots of a text": (lambda: FewShot("x"), "'x'"),
    "no few shots": (lambda: FewShot(0), "0"),
    "many few shots": (lambda: FewShot(10**9), "1000000000"),
    "more shots than prompts": (under(FewShot(101)), "101"),
    "few shots by a negative seed": (lambda: FewShot(2, -1), "-1"),
    "few shots parted by a number": (lambda: FewShot(2, between=5), "5"),
    "context of a number": (lambda: Context(5), "5"),
    "context of nothing": (lambda: Context([]), "[]"),
    "context in a number": (lambda: Context("x", 5), "5"),
    "given nothing": (lambda: Given(None), "None"),
    "given a text": (lambda: Given("x"), "'x'"),
    "given no value": (under(Given({"a": []})), "none"),
    "given an unknown": (under(Given({"c": 3})), "'c'"),
    "words of a text": (lambda: Reword("x"), "'x'"),
    "words of numbers": (lambda: Reword({"x": 5}), "5"),
    "words of nothing": (lambda: Reword({"": "x"}), "empty"),
    "answers of a list": (lambda: Reword({"a": "b"}, ["x"]), "'x'"),
    "chat by a number": (lambda: Chat(5), "5"),
    "shift to a text": (lambda: Shift("x"), "'x'"),
    "shift of inputs": (lambda: Shift(inputs=DIGITS), "inputs"),
    "identify with a text": (lambda: identify(TASK, n="x"), "'x'"),
    "identify without pairs": (lambda: identify(TASK, n=1), "1"),
    "identify without end": (lambda: identify(TASK, n=10**15), "1000000000000000"),
    "identify by a negative seed": (lambda: identify(TASK, seed=-1), "-1"),
    "identify by a list": (lambda: identify(TASK, ["flip"]), "'flip'"),
    "identify by nothing": (lambda: identify(TASK, {}), "empty"),
    "pairs below none": (lambda: make_pairs(HYPOTHESIS, POOL, -1, RNG), "-1"),
    "share of nan": (lambda: make_pairs(HYPOTHESIS, POOL, 9, RNG, {"flip": math.nan}), "nan"),
    "share of inf": (lambda: make_pairs(HYPOTHESIS, POOL, 9, RNG, {"flip": math.inf}), "inf"),
    "share of a text": (lambda: make_pairs(HYPOTHESIS, POOL, 9, RNG, {"flip": "x"}), "'x'"),
    "families by a file's name": (lambda: make_pairs(HYPOTHESIS, POOL, 9, RNG, "pairs.jsonl"), "'pairs.jsonl'"),
    "kind of inf": (lambda: Nested(lr=math.inf), "inf"),
    "kind of nan": (lambda: Nested(tolerance=math.nan), "nan"),
    "kind of true": (lambda: Fixed(k=True), "True"),
    "kind of huge k": (lambda: Fixed(k=10**30), "10"),
    "kind of a list": (lambda: Boundless(k=[1]), "[1]"),
    "kind of a high rate": (lambda: Fixed(lr=1e6), "1e+06"),
}

FUNCTIONS = {
    "model of a text": (lambda: CausalModel("text", inputs=DIGITS), "'text'"),
    "model of nothing": (lambda: CausalModel(inputs=DIGITS), "mechanism"),
    "inputs of a text": (lambda: CausalModel(larger, told, inputs="x"), "expected a mapping"),
    "inputs of lists": (lambda: CausalModel(larger, told, inputs={"a": [1, 2], "b": [1, 2]}), "[1, 2]"),
    "input called by a number": (lambda: Inputs({5: Bool()}), "5"),
    "where without parameters": (lambda: Inputs(DIGITS, where=lambda: True), "no parameters"),
    "where of a number": (lambda: Inputs(DIGITS, where=5), "5"),
    "where of a text": (lambda: Inputs(DIGITS, where="ab"), "'a'"),
    "where that raises": (drawn(Inputs(DIGITS, where=lambda a: broken())), "ValueError: two lines"),
    "where that gives texts": (drawn(Inputs(DIGITS, where=lambda a: {}[0])), "KeyError"),
    "where that gives too few": (drawn(Inputs(DIGITS, where=lambda a: a[:2] > 0)), "(2,)"),
    "sampler that raises": (drawn({**DIGITS, "a": Sampler(broken)}), "the sampler failed with ValueError: two lines"),
    "sampler that stops": (drawn({**DIGITS, "a": Sampler(stops)}), "SystemExit"),
    "sampler that gives a number": (drawn({**DIGITS, "a": Sampler(lambda rng, n: 5)}), "5"),
    "sampler that gives nothing": (drawn({**DIGITS, "a": Sampler(lambda rng, n: None)}), "None"),
    "accepts that raises": (
        lambda: CausalModel(larger, told, inputs={**DIGITS, "a": Sampler(lambda rng, n: range(n), broken)}).run(
            {"a": [1], "b": [2]}
        ),
        "accepts of a sampler failed",
    ),
    "joint draw of a number": (lambda: Inputs(DIGITS, draw=5), "5"),
    "joint draw that raises": (drawn(Inputs(DIGITS, draw=broken)), "the joint sampler failed with ValueError: two lines"),
    "joint draw that gives a list": (drawn(Inputs(DIGITS, draw=lambda rng, n: [1])), "[1]"),
    "joint draw of single values": (drawn(Inputs(DIGITS, draw=lambda rng, n: {"a": 1})), "'a'"),
    "joint draw of an unknown": (drawn(Inputs(DIGITS, draw=lambda rng, n: {"c": range(n)})), "'c'"),
    "mechanism that raises": (
        lambda: CausalModel(scalar(lambda a: broken()), inputs={"a": Bool()}).run({"a": [True]}),
        "ValueError: two lines",
    ),
    "mechanism without a signature": (lambda: CausalModel(dict.fromkeys, inputs={"a": Bool()}), "fromkeys"),
    "columns of a number": (lambda: MODEL.run(5), "5"),
    "column of a text": (lambda: MODEL.run({"a": "xy", "b": [1, 2]}), "'xy'"),
    "fixed to a number": (lambda: MODEL.intervene({"a": [1], "b": [2]}, {"larger": True}), "True"),
    "four dicts of a text": (lambda: CausalModel.from_dicts("ab", {}, {}, {}), "variables"),
    "four dicts without values": (
        lambda: CausalModel.from_dicts(["x", "y"], {"x": set()}, {"y": ["x"]}, {"y": lambda x: x}),
        "set()",
    ),
    "four dicts whose function raises": (
        lambda: CausalModel.from_dicts(["x", "y"], {}, {"y": ["x"]}, {"x": broken, "y": lambda x: x}).sample(RNG, 3),
        "the function of input 'x' failed with ValueError",
    ),
    "predicate that raises": (
        lambda: make_pairs(HYPOTHESIS, POOL, 9, RNG, {Family(base=lambda a: broken()): 1.0}),
        "predicate failed with ValueError",
    ),
    "prompt of a number": (lambda: Prompt(5, WORDS), "5"),
    "answers in a list": (lambda: Prompt("{a}", [" yes", " no"]), "' yes'"),
    "answers of numbers": (lambda: Prompt("{a}", {True: 1}), "1"),
    "fillers of a text": (lambda: Prompt("{a}", WORDS, {"b": "text"}), "'text'"),
    "no fillers": (lambda: Prompt("{a}", WORDS, {"b": []}), "[]"),
    "answer function that raises": (lambda: Prompt("{a}", broken).answer(3), "the answer function failed on 3 with ValueError"),
    "answer function of numbers": (lambda: Prompt("{a}", lambda v: 5).answer(3), "5"),
    "vector without an answer": (lambda: Prompt("{a}", WORDS).answer_texts(np.ones((2, 2))), "[1.0, 1.0]"),
    "list without an answer": (lambda: Prompt("{a}", WORDS).answer([1]), "[1]"),
    "value that cannot be written": (lambda: Prompt("{a:.2f}", WORDS).render({"a": np.array(["x"])}), "'x'"),
    "position of a number": (lambda: Position.parse(5), "5"),
    "nested positions": (lambda: expand_positions([["last"]]), "['last']"),
    "positions of a text": (lambda: expand_positions("last"), "'last'"),
    "range of positions without end": (lambda: expand_positions(["last-999999..last"]), "last-999999"),
}  # fmt: skip

LONG = "x" * 300
NAMES = [
    "a/b",
    "/tmp/out",
    "../x",
    "..",
    ".hidden",
    "x: carried",
    "a~b",
    LONG,
    "",
    5,
    None,
    "a\0b",
    "a\\b",
    "-x",
    "ü" * 40,
    "a.b",
]
NAMED = {f"hypothesis {str(name)[:12]!r}": (called(name), repr(name)[:12]) for name in NAMES}
NAMED |= {f"shift {str(n)[:12]!r}": (shift_called(n), repr(n)[:12]) for n in NAMES if n not in ("x: carried", "a.b")}
NAMED |= {
    "base as a shift": (shift_called("base"), "'base'"),
    "names alike but for case": (task(hypotheses={"A": HYPOTHESIS, "a": HYPOTHESIS}), "'A' and 'a'"),
    "shifts alike but for case": (task(shifts={"A": Offset(1), "a": Offset(2)}), "'A' and 'a'"),
    "task's name": (task(name="../x"), "'../x'"),
    "task's name a number": (task(name=5), "5"),
    "aligned twice": (lambda: Hypothesis(MODEL, "larger", "larger"), "'larger' is aligned twice"),
    "aligned a list": (lambda: Hypothesis(MODEL, ["larger"]), "['larger']"),
    "hypothesis of a text": (lambda: Hypothesis("x", "larger"), "'x'"),
    "hypotheses in a list": (task(hypotheses=[HYPOTHESIS]), "hypotheses"),
    "hypothesis of nothing": (task(hypotheses={"x": None}), "None"),
    "prompt of a text": (task(prompt="x"), "'x'"),
    "positions of a task": (task(positions="last"), "'last'"),
    "shifts in a list": (task(shifts=[Offset(1)]), "shifts"),
    "shift of a text": (task(shifts={"x": "chat"}), "'chat'"),
    "no task": (lambda: load_task(None), "None"),
    "task of a number": (lambda: load_task(5), "5"),
    "task with a long name": (lambda: load_task("x" * 9999), "xxx"),
    "task with NUL": (lambda: load_task("a\0b"), "NUL"),
    "task called by a long word": (lambda: load_task("x" * 400), "xxx"),
    "no network": (lambda: LM(None, None), "None"),
    "network of a text": (lambda: LM("price-tagger-tiny", None), "'price-tagger-tiny'"),
    "name of an unknown hypothesis": (lambda: TASK.hypothesis(5), "5"),
    "shift of a number": (lambda: parse_shift(5, {}), "5"),
    "shifts of a number": (lambda: named_shifts(5, {}), "5"),
    "shifts in a list, unnamed": (lambda: named_shifts([{"chat": True}], {}), "chat"),
    "shift by an empty name": (lambda: parse_shift("", {}), "empty"),
    "shift of many digits": (lambda: parse_shift("offset:" + "9" * 50, {}), "offset:99"),
}

SETTINGS = {
    "no task": (settings(task=None), "None"),
    "task of a number": (settings(task=5), "5"),
    "no network": (settings(lm=None), "None"),
    "network of a list": (settings(lm=[]), "[]"),
    "nested layers": (settings(layers=[[1]]), "[[1]]"),
    "negative layer": (settings(layers=-1), "-1"),
    "true for layers": (settings(layers=True), "True"),
    "no layers": (settings(layers=[]), "empty"),
    "layers of texts": (settings(layers=["1"]), "['1']"),
    "layers of nothing": (settings(layers=None), "None"),
    "nested positions": (settings(positions=[["last"]]), "[['last']]"),
    "positions of numbers": (settings(positions=[1]), "[1]"),
    "nested components": (settings(components=[["heads"]]), "[['heads']]"),
    "components of nothing": (settings(components=None), "None"),
    "hypotheses of numbers": (settings(hypotheses=[5]), "[5]"),
    "subspace of a number": (settings(subspace=5), "5"),
    "subspace of nothing": (settings(subspace=None), "None"),
    "beside a kind that is none": (settings(beside="nestd"), "'nestd'"),
    "steps in a text": (settings(steps="5"), "'5'"),
    "half a step": (settings(steps=1.5), "1.5"),
    "steps of true": (settings(steps=True), "True"),
    "steps of nothing": (settings(steps=None), "None"),
    "endless steps": (settings(steps=10**5000), "steps"),
    "inf steps": (settings(steps=math.inf), "inf"),
    "negative seed": (settings(seed=-1), "-1"),
    "huge seed": (settings(seed=10**30), "seed"),
    "negative threads": (settings(threads=-1), "-1"),
    "huge threads": (settings(threads=10**9), "1000000000"),
    "huge workers": (settings(workers=10**9), "1000000000"),
    "many seeds": (settings(seeds=10**9), "1000000000"),
    "many pairs": (settings(train_pairs=10**12), "1000000000000"),
    "one null": (settings(nulls=1), "1"),
    "budget of nan": (settings(budget=math.nan), "nan"),
    "budget of a text": (settings(budget="x"), "'x'"),
    "memory of inf": (settings(memory=math.inf), "inf"),
    "retrain of a text": (settings(retrain={"x": "y"}), "'y'"),
    "retrain of nan": (settings(retrain=math.nan), "nan"),
    "families by a file's name": (settings(families="pairs.jsonl"), "'pairs.jsonl'"),
    "families in a list": (settings(families=["flip"]), "['flip']"),
    "no families": (settings(families={}), "{}"),
    "family of inf": (settings(families={"flip": math.inf}), "inf"),
    "family of one's own": (settings(families={Family(): 1.0}), "config.yaml"),
    "truth in a text": (settings(only_correct="yes"), "'yes'"),
    "device of a number": (settings(device=5), "5"),
    "unknown device": (settings(device="tpu"), "'tpu'"),
    "dtype of nothing": (settings(dtype=None), "None"),
    "under nothing": (settings(under=None), "None"),
    "shifts of a number": (settings(shifts=5), "5"),
    "experiment on a number": (experiment(lm=5), "5"),
    "experiment with a network's module": (experiment(lm=NOTHING), "object"),
    "experiment on a prompt": (experiment(task=PROMPT), "Prompt"),
    "experiment with an unknown setting": (experiment(step=5), "'step': did you mean 'steps'?"),
    "no width": (fit(width=0), "0"),
    "no heads": (fit(heads=0), "0"),
    "heads that do not divide": (fit(width=10, heads=3), "width is 10 and heads is 3"),
    "heads of one number": (fit(width=4, heads=4), "width is 4"),
    "rate of inf": (fit(lr=math.inf), "inf"),
    "rate of nan": (fit(lr=math.nan), "nan"),
    "rate that blows up": (fit(lr=1e30), "1e+30"),
    "negative warmup": (fit(warmup=-0.1), "-0.1"),
    "long warmup": (fit(warmup=1.5), "1.5"),
    "clip of none": (fit(clip=0), "0"),
    "decay of nan": (fit(weight_decay=math.nan), "nan"),
    "mix of a list": (fit(mix=[1]), "[1]"),
    "mix without shares": (fit(mix={0: {}}), "{}"),
    "mix at a negative step": (fit(mix={-1: {"base": 1.0}}), "-1"),
    "mix of shares below 0": (fit(mix={0: {"base": -1.0}}), "-1"),
    "fit by a negative seed": (fit(seed=-1), "-1"),
    "fit by a huge seed": (fit(seed=2**64), str(2**64)),
    "fit with negative threads": (fit(threads=-1), "-1"),
    "fit to a number": (fit(out=5), "5"),
}  # fmt: skip

TABLE = {f"{part}: {name}": row for part, table in (
    ("numbers", NUMBERS), ("functions", FUNCTIONS), ("names", NAMED), ("settings", SETTINGS),
) for name, row in table.items()}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", TABLE)
def test_what_cannot_be_used_is_one_clear_error(name, here):
    make, given = TABLE[name]
    with pytest.raises(DasError) as caught:
        make()
    text = str(caught.value)
    assert given in text
    assert "\n" not in text
    assert len(text) < 700
    assert not list(here.iterdir())


def test_the_table_is_large():
    assert len(TABLE) >= 200


# --- what is given oddly and can be used ---


def test_numbers_of_numpy_and_paths_are_taken_for_what_they_are(here):
    made = Settings(Path("t"), Path("x"), layers=np.arange(2), steps=np.int64(5), budget=np.float32(0.5), positions="last")
    assert (made.layers, made.steps, made.budget, made.positions) == ([0, 1], 5, 0.5, ["last"])
    assert all(type(value) is int for value in [*made.layers, made.steps])


def test_a_range_too_long_to_be_listed_is_drawn_from():
    model = CausalModel(larger, told, inputs={"a": Range(0, 10**9), "b": Range(0, 9)})
    assert model.size is None
    assert model.difference(model) is None


def test_positions_may_have_names_that_are_not_ascii():
    assert Position.parse("é.first") == Position("é", "first", 0)


def test_vectors_may_have_answers():
    prompt = Prompt("{a}", {(1, 0): " left", (0, 1): " right"})
    assert prompt.answer_texts(np.array([[1, 0], [0, 1], [1, 0]])) == [" left", " right", " left"]


def test_kinds_that_differ_have_different_names():
    from das.find.kinds import kind_name

    names = [kind_name(kind) for kind in (Nested(k=2), Nested(k=2, lr=0.1), Nested(k=2, tolerance=0.1), Fixed(k=2))]
    assert names == ["nested2", "nested2,lr=0.1", "nested2,tolerance=0.1", "fixed2"]


def test_cells_have_ids_that_folders_can_have():
    from das.find.alignment import Cell
    from das.network.site import Site

    usual = Cell("h", Site(3, "amount.last", "block_output"), Nested(k=2)).id
    assert re.fullmatch(r"h-L03\.amount\.last-nested2\.[0-9a-f]{4}-s0", usual)
    for odd in (Site(3, "x" * 300), Site(3, "last", "a/b.{layer}"), Site(3, "ü" * 100)):
        cell = Cell("h", odd, Nested(k=2)).id
        assert len(cell.encode()) < 200
        assert "/" not in cell
        assert cell != Cell("h", Site(3, odd.position + "y", odd.component), Nested(k=2)).id


@pytest.mark.parametrize("out", ["file", "file/below", "x" * 300, "a\0b", "", "/proc/das", 5])
def test_a_run_is_not_begun_where_it_cannot_be_written(out, here):
    (here / "file").write_text("mine")
    with pytest.raises(DasError):
        _begin(out)
    assert [path.name for path in here.iterdir()] == ["file"]
    assert (here / "file").read_text() == "mine"


def _begin(out):
    from das.ground.checks import folder

    Run(folder("out", out)).prepare(Settings("t", "x"))


def test_a_subspace_wider_than_its_site_is_found_before_anything_is_written(here):
    made = Experiment(
        ROOT / "tasks" / "price_tagging.py", "price-tagger-tiny", positions=["last"], layers=[0], subspace="fixed:k=200"
    )
    with pytest.raises(DasError, match=r"fixed200 for 2 variable\(s\) needs 400 columns.* have 128: give k up to 64"):
        made.run("out")
    assert not (here / "out").exists()


def test_a_device_that_is_not_there_is_found_before_anything_is_written(here, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    made = Experiment(ROOT / "tasks" / "price_tagging.py", "price-tagger-tiny", positions=["last"], layers=[0], device="cuda")
    with pytest.raises(DasError, match="device is cuda: there are 0 CUDA devices here; give cpu, or auto"):
        made.run("out")
    assert not (here / "out").exists()


@pytest.mark.parametrize(("cuda", "mps", "best"), [(2, False, "cuda"), (0, True, "mps"), (0, False, "cpu"), (1, True, "cuda")])
def test_auto_is_the_best_device_that_is_there(cuda, mps, best, monkeypatch):
    from das.network.device import device_of

    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert device_of("auto").type == best


def test_a_run_says_what_the_device_auto_comes_to():
    said = []

    class Told:
        def say(self, text):
            said.append(text)

    Experiment(ROOT / "tasks" / "price_tagging.py", "price-tagger-tiny", positions=["last"], device="auto").tell_device(Told())
    assert said == [f"device auto: the network runs on {das.network.device.device_of('auto')}"]


def test_a_run_that_was_tested_under_no_shift_says_so(here):
    from das.transfer.robustness import Robustness

    with pytest.raises(DasError, match="was not tested under any shift yet: das shift run"):
        Robustness(Run("run")).accuracy("base")


def test_a_setting_that_a_runs_own_configuration_cannot_have_is_named(here):
    Run("run").prepare(Settings("t", "x"))
    path = here / "run" / "config.yaml"
    path.write_text(path.read_text() + "stepz: 5\n")
    for use in (lambda: Run("run").prepare(Settings("t", "x")), lambda: Run("run").settings()):
        with pytest.raises(DasError, match=r"config.yaml: 'stepz': did you mean 'steps'"):
            use()
