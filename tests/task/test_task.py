"""Tasks: every file in tasks/ is sound, and a task that is not says why."""

import re
import sys
from functools import cache

import numpy as np
import pytest
from conftest import ROOT

from das import CausalModel, Context, DasError, Hypothesis, Inputs, Prompt, Range, Shift, Task, load_task
from das.run.fit import corpus
from das.task.positions import expand_positions
from das.task.tokenizer import make_tokenizer

FILES = sorted((ROOT / "tasks").glob("*.py"))
TASKS = [path.stem for path in FILES]


@pytest.fixture(scope="module", params=FILES, ids=TASKS)
def task(request):
    return load_task(request.param)


@pytest.fixture
def worded(task):
    """A task that is put in words."""
    if not isinstance(task.prompt, Prompt):
        pytest.skip("is not put in words")
    return task


# --- the shipped tasks ---


def test_tasks_are_there():
    assert {"price_tagging", "arithmetic"} <= set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_task_loads_by_name_as_by_path(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    by_name, by_path = load_task(name), load_task(ROOT / "tasks" / f"{name}.py")
    assert by_name.name == by_path.name == name
    assert type(by_name.prompt) is type(by_path.prompt)
    assert getattr(by_name.prompt, "template", "") == getattr(by_path.prompt, "template", "")
    assert list(by_name.hypotheses) == list(by_path.hypotheses)
    assert load_task(by_name) is by_name


@cache
def words_of(name):
    return make_tokenizer(corpus(load_task(name)), whole_numbers=True)


def test_task_passes_its_check_with_a_tokenizer_of_its_words(worded):
    worded.check(words_of(worded.name))


def test_all_hypotheses_answer_alike(task):
    rng = np.random.default_rng(1)
    for shifted in [task, *(task.under(change) for change in task.shifts.values())]:
        columns = shifted.model.sample(rng, 5000)
        answers = [h.model.run(columns)[h.model.output].tolist() for h in shifted.hypotheses.values()]
        assert all(given == answers[0] for given in answers)


def test_aligned_variables_matter_to_the_answer(task):
    rng = np.random.default_rng(2)
    base, source = task.model.sample(rng, 2000), task.model.sample(rng, 2000)
    for hypothesis in task.hypotheses.values():
        model = hypothesis.model
        for variable in hypothesis.variables:
            changed = model.interchange(base, {variable: source})[model.output] != model.run(base)[model.output]
            assert changed.any()


def test_shifts_are_declared_and_ask_the_same_question(worded):
    assert worded.shifts
    home = worded.variant("base")
    assert (home.prompt, home.inputs, home.model) == (worded.prompt, worded.model.inputs, worded.model)
    for name in worded.shifts:
        variant = worded.variant(name)
        assert variant.model is worded.model
        assert variant.prompt != home.prompt or variant.inputs is not home.inputs


def test_shifts_and_siblings_pass_their_check_with_a_tokenizer_of_their_words(worded):
    tokenizer = words_of(worded.name)
    for change in worded.shifts.values():
        known = worded.coverage(change, tokenizer, expand_positions(worded.positions))
        worded.check_shift(change, tokenizer, [position for position, share in known.items() if share == 1])
        assert worded.fault(change, tokenizer) == ""
    for change in worded.siblings.values():
        worded.check_shift(change, tokenizer)


def test_default_positions_of_price_tagging_run_from_the_amount_to_the_end(price_tagging, tokenizer):
    amount = price_tagging.model.sample(np.random.default_rng(0), 1)["amount"][0]
    shown = price_tagging.tokens_at(tokenizer, expand_positions(price_tagging.positions))
    assert list(shown) == [*(f"last-{i}" for i in range(12, 0, -1)), "last"]
    assert list(shown.values()) == [*f"{amount:.2f}", "dollars", "\n", "\n", "#", "#", "#", "Response", ":", "\n"]


# --- a task in few lines ---

NUMBERS = {"a": Range(0, 9), "b": Range(0, 9)}
YES_NO = {True: " yes", False: " no"}


def larger(a, b):
    return a > b


def told(larger):
    return larger


def wrong(larger, a, b):
    return larger | (a == b)


RIGHT = Hypothesis(CausalModel(larger, told, inputs=NUMBERS), "larger")
PROMPT = Prompt("is {a} more than {b} :", YES_NO)


@pytest.fixture(scope="module")
def words():
    return make_tokenizer([f"is {n} more than true True False yes no : 0 1 2 3 4 5 6 7 8 9" for n in range(10)])


def test_computed_variables_can_be_written_in_the_prompt(words):
    task = Task(Prompt("{a} more {b} is {larger} :", YES_NO), {"right": RIGHT})
    text = task.show(words, ["larger.last"])
    a, b, more = re.match(r"(\d) more (\d) is ⟦(\w+)⟧ :", text).groups()
    assert more == str(int(a) > int(b))


def test_hypothesis_is_found_by_its_short_and_its_full_name(price_tagging):
    both = price_tagging.hypotheses["left_and_right"]
    assert price_tagging.full_name("left_and_right") == "left_and_right.above_lower+below_upper"
    assert (
        price_tagging.hypothesis("left_and_right")
        is price_tagging.hypothesis(price_tagging.full_name("left_and_right"))
        is both
    )


def test_answers_become_tokens_row_by_row(price_tagging, tokenizer):
    columns = price_tagging.model.sample(np.random.default_rng(0), 20)
    outputs = price_tagging.model.run(columns)[price_tagging.model.output]
    tokens = price_tagging.answer_tokens(outputs, columns, tokenizer)
    assert tokenizer.convert_ids_to_tokens(tokens.tolist()) == ["Yes" if answer else "No" for answer in outputs]


def copy(a):
    return a + 0


def compared(copy, b):
    return np.where(copy == b, "same", "other")


TIED = Hypothesis(CausalModel(copy, compared, inputs=Inputs(NUMBERS, where=lambda a, b: a == b)), "copy")


def test_outputs_hold_the_answers_that_only_a_counterfactual_has():
    task = Task(PROMPT, {"tied": TIED})
    columns = {"a": np.array([1, 1, 5]), "b": np.array([1, 1, 5])}
    assert task.outputs(columns).tolist() == ["same", "same", "same", "other", "same", "other"]


def shifted(**shift):
    return Task(PROMPT, {"right": RIGHT}, shifts={"other": Shift(**shift)})


UNSOUND = {
    "hypotheses that differ": (
        lambda: Task(PROMPT, {"right": RIGHT, "odd": Hypothesis(CausalModel(larger, wrong, inputs=NUMBERS), "larger")}),
        "hypothesis 'odd' does not answer as the first hypothesis does on {'a': 0, 'b': 0}",
    ),
    "no such position": (
        lambda: Task(PROMPT, {"right": RIGHT}, positions=["aa.last"]),
        "prompt: unknown field in position 'aa.last'",
    ),
    "position outside": (
        lambda: Task(PROMPT, {"right": RIGHT}, positions=["last+1"]),
        "prompt: position 'last+1' lies outside",
    ),
    "answer that only a counterfactual has": (
        lambda: Task(Prompt("is {a} more than {b} :", {"same": " yes"}), {"tied": TIED}),
        "prompt: unknown answer: the output value has no text, 'other'",
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_check_says_what_is_unsound_and_where(name, words):
    make, message = UNSOUND[name]
    with pytest.raises(DasError, match=re.escape(message)):
        make().check(words)


def test_a_sound_task_passes_the_check(words):
    Task(PROMPT, {"right": RIGHT}).check(words)


UNSOUND_SHIFTS = {
    "answers that collide": (
        Shift(prompt=Prompt("{a} more {b} :", {True: " yes", False: "  yes"})),
        "answers ' yes' and '  yes' are the same token(s) to the tokenizer",
    ),
    "position that it lacks": (
        Shift(prompt=Prompt("{a} {b}", YES_NO)),
        "position 'last-6' lies outside the prompt of 3 tokens",
    ),
    "an input that is not written": (Shift(prompt=Prompt("is {a} more :", YES_NO)), "input 'b' is not a field"),
    "unknown words": (Context("Zebra!"), "unknown to the tokenizer"),
    "a field of no variable": (Shift(prompt=Prompt("{a} {b} {c} is more :", YES_NO)), "unknown field of the template 'c'"),
}


@pytest.mark.parametrize("name", UNSOUND_SHIFTS)
def test_a_shift_that_cannot_be_asked_says_why(name, words):
    change, message = UNSOUND_SHIFTS[name]
    with pytest.raises(DasError, match=re.escape(message)):
        Task(PROMPT, {"right": RIGHT}).check_shift(change, words, ["last-6"] if "position" in name else [])


def test_a_shift_may_show_what_follows_from_the_inputs_and_have_inputs_of_its_own(words):
    task = Task(PROMPT, {"right": RIGHT})
    task.check_shift(Shift(prompt=Prompt("{a} {b} is {larger} :", {True: " true", False: " no"})), words)
    task.check_shift(Shift(inputs=Inputs({"a": Range(3, 30), "b": Range(0, 9)})), words)


def test_a_sibling_is_checked_by_its_own_answers_and_nothing_can_be_tested_under_it(words):
    def which(larger):
        return np.where(larger, "more", "is")

    prompt = Prompt("{a} {b} :", {"more": " more", "is": " is"})
    sibling = Shift(prompt=prompt, model=CausalModel(larger, which, inputs=NUMBERS))
    task = Task(PROMPT, {"right": RIGHT})
    task.check_shift(sibling, words)
    with pytest.raises(DasError, match="asks another question"):
        task.under(sibling)


WRONG = {
    "no hypothesis": (lambda: Task(PROMPT, {}), "at least one hypothesis"),
    "input that is not written": (
        lambda: Task(Prompt("is {a} more :", YES_NO), {"right": RIGHT}),
        "input 'b' is not a field of the template",
    ),
    "no variable": (lambda: Hypothesis(RIGHT.model), "names at least one variable"),
    "unknown variable": (lambda: Hypothesis(RIGHT.model, "lager"), "unknown aligned variable 'lager': did you mean 'larger'?"),
    "the output": (lambda: Hypothesis(RIGHT.model, "told"), "'told' is the output: align a variable that lies before it"),
    "unknown hypothesis": (
        lambda: Task(PROMPT, {"right": RIGHT}).hypothesis("rigth"),
        "unknown hypothesis 'rigth': did you mean 'right'? Known: right, right.larger",
    ),
    "wrong variable in a full name": (
        lambda: Task(PROMPT, {"right": RIGHT}).hypothesis("right.lager"),
        "unknown hypothesis 'right.lager': did you mean 'right.larger'?",
    ),
    "unknown shift": (
        lambda: shifted(prompt=PROMPT).variant("othr"),
        "unknown shift 'othr': did you mean 'other'? Known: base, other, few_shot:2",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_parts_that_do_not_fit_are_refused(name):
    make, message = WRONG[name]
    with pytest.raises(DasError, match=re.escape(message)):
        make()


# --- loading ---

SMALL = """
from das import CausalModel, Hypothesis, Prompt, Range, Task

def larger(a, b):
    return a > b

def told(larger):
    return larger

hypotheses = {"larger": Hypothesis(CausalModel(larger, told, inputs={"a": Range(0, 9), "b": Range(0, 9)}), "larger")}
"""
ONE = 'compare = Task(Prompt("{a} {b} :", {True: "yes", False: "no"}), hypotheses)\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to stand in, with an empty `tasks/`; modules of task files are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("das_task_") or name == "offered_tasks":
            del sys.modules[name]


@pytest.mark.parametrize("body", [ONE, ONE + ONE.replace("compare", "task"), ONE.replace("compare", "task")])
def test_file_with_one_task_or_one_called_task_loads(body, folder):
    (folder / "tasks" / "mine.py").write_text(SMALL + body)
    assert load_task("mine").name == "mine"
    assert load_task("tasks/mine.py").prompt.fields == ["a", "b"]


def test_module_of_a_task_is_known_so_that_its_functions_pickle(folder):
    (folder / "tasks" / "mine.py").write_text(SMALL + ONE)
    load_task("mine")
    assert sys.modules["das_task_mine"].larger(2, 1)


BROKEN = {
    "raises": ("1 / 0", r"mine.py cannot be run: ZeroDivisionError: division by zero"),
    "is no Python": ("def", r"mine.py cannot be run: SyntaxError"),
    "imports what is not there": ("import nowhere_at_all", r"mine.py cannot be run: ModuleNotFoundError: .*nowhere_at_all"),
    "breaks a rule of das": (SMALL + "Hypothesis(hypotheses['larger'].model, 'large')", r"mine.py: unknown aligned variable"),
    "has no task": (SMALL, r"mine.py defines 0 tasks: expected one, or one that is called `task`"),
    "has two tasks": (SMALL + ONE + ONE.replace("compare", "other"), r"mine.py defines 2 tasks: expected one"),
    "has a task that is none": (SMALL + ONE + "task = 3", r"mine.py defines"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_file_that_gives_no_task_says_why(name, folder):
    body, message = BROKEN[name]
    (folder / "tasks" / "mine.py").write_text(body)
    with pytest.raises(DasError, match=message):
        load_task("mine")


@pytest.mark.parametrize(
    "given",
    [
        "mime",
        "tasks/mime.py",
        "others/yourz.py",
    ],
)
def test_missing_file_names_the_nearest(given, folder):
    (folder / "tasks" / "mine.py").write_text(SMALL + ONE)
    (folder / "others").mkdir()
    (folder / "others" / "yours.py").write_text(SMALL + ONE)
    with pytest.raises(DasError, match=r"no task file at .*\.py.*did you mean '(mine|yours)'\?"):
        load_task(given)


def test_file_that_fails_leaves_no_module_behind(folder):
    (folder / "tasks" / "mine.py").write_text("1 / 0")
    with pytest.raises(DasError):
        load_task("mine")
    assert "das_task_mine" not in sys.modules


@pytest.fixture
def offered(folder, monkeypatch):
    """An installed package that offers a task, one that is none, and one that cannot be loaded."""
    site = folder / "site"
    (site / "offer-1.0.dist-info").mkdir(parents=True)
    (site / "offer-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: offer\nVersion: 1.0\n")
    points = "[das.tasks]\ncomparing = offered_tasks:compare\nnothing = offered_tasks:hypotheses\ngone = offered_tasks:absent\n"
    (site / "offer-1.0.dist-info" / "entry_points.txt").write_text(points)
    (site / "offered_tasks.py").write_text(SMALL + ONE)
    monkeypatch.syspath_prepend(site)
    return site


def test_task_of_an_installed_package_loads_by_its_name(offered):
    task = load_task("comparing")
    assert (task.name, list(task.hypotheses)) == ("comparing", ["larger"])


def test_a_file_goes_before_an_installed_package(offered, folder):
    (folder / "tasks" / "comparing.py").write_text(SMALL + ONE.replace("{a} {b} :", "file {a} {b} :"))
    assert load_task("comparing").prompt.template.startswith("file")


def test_installed_tasks_are_among_the_names_that_are_known(offered):
    with pytest.raises(DasError, match=r"did you mean 'comparing'\? Known: .*comparing"):
        load_task("compring")


@pytest.mark.parametrize("name", ["nothing", "gone"])
def test_entry_point_that_gives_no_task_is_an_error_for_people(name, offered):
    with pytest.raises(DasError, match=name):
        load_task(name)
