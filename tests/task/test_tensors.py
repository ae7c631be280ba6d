"""Tasks that are put as tensors: what is rendered is what the network is given, and the same setting is the same input."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from das import (
    LM,
    Bool,
    CausalModel,
    DasError,
    Experiment,
    Hypothesis,
    Net,
    Prompt,
    Range,
    Reword,
    Shift,
    Task,
    Tensors,
    load_task,
    nearest,
)  # fmt: skip
from das.interchange.feature import Whole
from das.interchange.score import score
from das.run.check import check
from das.run.plan import plan
from das.task.encoded import Encoded

INPUTS = dict.fromkeys("xyz", Range(0, 4))


def both(x, y):
    return (x + y) % 5


def total(both, z):
    return (both + z) % 5


def digits(x, y, z):
    return np.eye(5, dtype=np.float32)[np.stack([x, y, z], 1)]


MODEL = CausalModel(both, total, inputs=INPUTS)


def task(render=digits, places=3, **given):
    form = Tensors(render, places=places, **given)
    return Task(form, {"both": Hypothesis(MODEL, "both")}, positions=["first" if places else "last"])


class Table(nn.Module):
    """Adds up, exactly: three cells of a state, one for each step, whose last is the answer as a one-hot vector."""

    def __init__(self):
        super().__init__()
        self.step, self.head = Add(), nn.Linear(5, 5, bias=False)
        self.head.weight.data = torch.eye(5)

    def forward(self, digits):
        state = torch.eye(5)[:1].expand(len(digits), -1)
        for one in digits.unbind(1):
            state = self.step(state, one)
        return self.head(state)


class Add(nn.Module):
    def forward(self, state, one):
        number = torch.arange(5)
        outer = state[:, :, None] * one[:, None]
        return torch.stack([outer[:, number, (answer - number) % 5].sum(1) for answer in range(5)], 1)


def columns(n=6, seed=0):
    return MODEL.sample(np.random.default_rng(seed), n)


def test_what_is_rendered_is_what_the_network_is_given_and_positions_are_places():
    rows = columns()
    made = task(positions={"start": 0, "rest": [1, 2], "own": lambda x: x % 3})
    feed = made.encode(rows, None, ["first", "last", "last-1", "start", "start+1", "rest", "rest.last", "own"])
    assert torch.equal(feed.tensors[""], torch.from_numpy(digits(**rows)))
    at = {name: columns[0].tolist() for name, columns in feed.positions.items() if name != "own"}
    assert at == {"first": [0], "last": [2], "last-1": [1], "start": [0], "start+1": [1], "rest": [1, 2], "rest.last": [2]}
    assert feed.positions["own"][:, 0].tolist() == (rows["x"] % 3).tolist()


def test_the_same_setting_is_the_same_input_whatever_stands_around_it():
    rows = columns(20)
    once = task().render(rows).identities(None)
    alone = [task().render({name: column[i : i + 1] for name, column in rows.items()}).identities(None)[0] for i in range(20)]
    assert once.tolist() == alone
    assert task().encode(rows, None).take(np.arange(19, -1, -1)).identities().tolist() == alone[::-1]
    settings = {tuple(row) for row in np.stack(list(rows.values()), 1).tolist()}
    assert len(set(alone)) == len(settings)


def test_floats_keep_their_dtype_and_zero_has_no_sign():
    form = Tensors(lambda x: np.where(x > 0, 0.0, -0.0))
    one, other = (form.render({"x": np.array([value])}).identities(None)[0] for value in (1, 0))
    assert one == other
    feed = form.render({"x": np.array([1])}).encode()
    assert feed.tensors[""].dtype == torch.float64


BAD = {
    "gave a tensor of shape": lambda x, y, z: digits(x, y, z)[:-1],
    "not finite .* row 0": lambda x, y, z: digits(x, y, z) * np.nan,
    "expected an array or a tensor": lambda x, y, z: "words",
    "failed on": lambda x, y, z: x @ "a",
    "otherwise by itself": lambda x, y, z: digits(x, y, z) - digits(x, y, z).mean(0),
    "one prompt has two right answers": lambda x, y, z: digits(x, y, x),
}


@pytest.mark.parametrize("message", BAD)
def test_what_render_gives_wrong_is_said_before_any_network(message):
    with pytest.raises(DasError, match=message):
        task(BAD[message]).check(None)


def test_answers_are_classes():
    with pytest.raises(DasError, match="expected a class"):
        task(answers=lambda value: value / 2).check(None)
    with pytest.raises(DasError, match="output value has no class"):
        task(answers={0: 0, 1: 1}).check(None)
    assert task(answers=lambda value: 4 - value).answer_tokens(np.array([0, 3]), columns(1), None).tolist() == [4, 1]
    with pytest.raises(DasError, match=r"class 4, .* scores of 3 classes"):
        Experiment(task(places=None), Net(nn.Sequential(nn.Flatten(), nn.Linear(15, 3))), layers=[1])


def test_positions_that_are_not_there_are_refused():
    with pytest.raises(DasError, match=r"did you mean .start."):
        task(positions={"start": 0}).check(None, ["strat"])
    with pytest.raises(DasError, match=r"lies outside an input, which has 3"):
        task().check(None, ["last+1"])
    for wrong in ({"start": 3}, {"first": 0}, {"a": -1}):
        with pytest.raises(DasError):
            task(positions=wrong)


def test_words_and_tensors_do_not_mix():
    words = Task(Prompt("{x} {y} {z}", str), {"both": Hypothesis(MODEL, "both")})
    with pytest.raises(DasError, match=r"takes tensors, .* words"):
        Experiment(words, Net(Table()))
    with pytest.raises(DasError, match="reads words"):
        Experiment(task(), "price-tagger-tiny")
    with pytest.raises(DasError, match="no tokenizer"):
        Experiment(words, LM(Table(), None))
    with pytest.raises(DasError, match="changes words, and the task has none"):
        task().under(Reword({"a": "b"}))
    with pytest.raises(DasError, match=r"das\.Net"):
        LM(Table(), None).logits(task().encode(columns(), None))
    with pytest.raises(DasError, match=r"das\.LM"):
        Net(Table()).logits(Encoded(np.zeros((1, 3), np.int64), np.array([3])))


def test_inputs_shift_and_another_render_is_a_shift_of_its_own():
    small = Shift(inputs=MODEL.inputs.__class__(dict.fromkeys("xyz", Range(0, 1))))
    assert task().under(small).model.inputs.size == 8
    turned = task().under(Shift(prompt=Tensors(lambda x, y, z: digits(y, x, z), places=3)))
    assert torch.equal(turned.encode(columns(), None).tensors[""][:, 0], task().encode(columns(), None).tensors[""][:, 1])


def test_a_state_that_holds_the_sum_is_found_where_it_lies_and_the_plan_is_made_without_a_configuration():
    net = Net(Table(), cells=["step"])
    sizes = {"train_pairs": 60, "val_pairs": 16, "test_pairs": 40}
    experiment = Experiment(task(), net, layers=[0], positions=["first", "first+1", "last"], subspace="fixed:k=4", **sizes)
    assert plan(experiment).grid == 3
    m = experiment.material()
    wanted = {cell.site.position: ("both", cell.site, [Whole(1)]) for cell in experiment.grid()}
    found = score(m.engine, m.data["test"], wanted)
    assert found["first+1"].all()
    pairs = m.pairs["test"]["both"]
    assert (found["last"][0] == (pairs.source_answer == pairs.answer)).all()
    rows, _, known = check(task(), None, None, net, 200)
    assert known.share == 1
    assert rows[1][1] == "3"


class Strokes(nn.Module):
    """Whether two strokes in an image (3 by 7 pixels) have one direction, by a convolution and arithmetic of signs."""

    def __init__(self):
        super().__init__()
        self.conv, self.sign, self.head = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Tanh(), nn.Linear(2, 2)
        kernel = torch.tensor([[0.0, 1, 0], [-1, 0, -1], [0, 1, 0]])
        self.conv.weight.data = torch.stack([kernel, -kernel])[:, None] * 10
        self.head.weight.data, self.head.bias.data = torch.tensor([[-1.0, -1], [1, 1]]), torch.tensor([1.0, -1])

    def forward(self, image):
        seen = self.sign(self.conv(image))[:, 0, 1]
        both = seen[:, 1] + seen[:, 5]
        return self.head(torch.stack([both, -both], 1).relu())


def stroke(upright, light):
    """(rows, 3, 3)"""
    upright, bar = upright[:, None, None], np.zeros((3, 3))
    bar[:, 1] = 1
    return np.where(upright, bar, bar.T) * light[:, None, None]


def test_an_image_classifier_is_a_task_whose_regions_are_positions():
    def left(p):
        return p & True

    def alike(left, q):
        return left == q

    def image(p, q, one, two):
        gap = np.zeros((len(p), 3, 1))
        return np.concatenate([stroke(p, one), gap, stroke(q, two)], 2)[:, None]

    seen = CausalModel(left, alike, inputs={"p": Bool(), "q": Bool()} | dict.fromkeys(["one", "two"], Range(1, 16)))
    place = np.arange(21).reshape(3, 7)
    regions = {"one": place[:, :3].ravel().tolist(), "other": place[:, 4:].ravel().tolist()}
    form = Tensors(image, {True: 1, False: 0}, places=21, positions=regions)
    made = Task(form, {"left": Hypothesis(seen, "left")}, positions=["one", "other"])
    sizes = {"train_pairs": 60, "val_pairs": 16, "test_pairs": 40}
    experiment = Experiment(made, Net(Strokes()), layers=[0, 1], subspace="fixed:k=2", **sizes)
    m = experiment.material()
    pairs, wanted = m.pairs["test"]["left"], {str(c.site): ("left", c.site, [Whole(1)]) for c in experiment.grid()}
    assert check(made, None, None, m.lm, 200)[2].share == 1
    for site, found in score(m.engine, m.data["test"], wanted).items():
        expected = np.ones(40, bool) if site.endswith("one") else None
        if expected is None:
            other = pairs.sources["left"] | {name: pairs.base[name] for name in ("p", "one")}
            expected = seen.run(other)["alike"] == pairs.answer
        assert (found[0] == expected).all()


def test_a_network_that_gives_a_number_chooses_the_nearest_value_within_a_tolerance():
    read = nearest([0.0, 0.5, 2.0], 0.2)
    assert read(torch.tensor([[0.1], [0.45], [0.75], [2.1], [9.0]])).argmax(-1).tolist() == [0, 1, 3, 2, 3]
    model = nn.Sequential(nn.Flatten(), nn.Linear(15, 1))
    model[1].weight.data, model[1].bias.data = torch.arange(5.0).repeat(3)[None], torch.zeros(1)
    rows = columns(20)
    said = Net(model, read=nearest(range(13), 0.3)).logits(task().encode(rows, None)).argmax(-1)
    assert said.tolist() == (rows["x"] + rows["y"] + rows["z"]).tolist()
    for wrong in (([], 0.1), ([1.0, 1.0], 0.1), ([1.0], 0.0)):
        with pytest.raises(DasError):
            nearest(*wrong)


@pytest.mark.parametrize("name", ["equality", "gru_adder", "shapes"])
def test_the_tasks_that_read_no_words_are_sound(name):
    found = load_task(ROOT / "tasks" / f"{name}.py")
    found.check(None)
    assert found.show(None).startswith("input: float32")


def test_a_network_by_its_file_is_asked_like_any_other(tmp_path):
    (tmp_path / "own.py").write_text("from torch import nn\nfrom das import Net\nnetwork = lambda: Net(nn.Linear(15, 5))\n")
    with pytest.raises(DasError, match="has no modules inside"):
        Experiment(task(), tmp_path / "own.py")
    (tmp_path / "none.py").write_text("network = 3\n")
    with pytest.raises(DasError, match=r"expected a das\.Net"):
        Experiment(task(), tmp_path / "none.py")
    with pytest.raises(DasError, match="no file at"):
        Experiment(task(), str(tmp_path / "gone.py"))
