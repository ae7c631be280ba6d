"""Matches: exactly what a steered network writes, and whether that is what is wanted."""

from functools import cache

import pytest
import torch

from das import DasError
from das.draw.matches import AS_LONG, matches_figure, rates
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.use.matches import goes_on, matches
from das.use.steerer import Steerer

SUMS = {"right": [("2 + 3 =", " 5"), ("(2 + 3) * 4 =", " 20")], "wrong": [("2 + 3 =", " 50")]}


@cache
def steerer():
    lm = LM.load("arithmetic-tiny")
    basis = random_basis(lm.width, 1, torch.Generator().manual_seed(0))
    return Steerer(Alignment(Cell("sum", Site(1, "last"), Fixed(1)), Subspace(basis[:, None], torch.ones(1, 1))), lm)


@cache
def table():
    return matches(steerer(), SUMS, (0.0, 1e4), randoms=2)


@pytest.mark.parametrize(
    ("text", "wanted", "is_so"),
    [
        (" the worm.", "the worm", True),
        (" the worms", "the worm", False),
        (" the", "the worm", False),
        ("The worm", "the worm", False),
        (" 20", " 2", False),
        (" 20 ", " 20", True),
    ],
)
def test_what_is_wanted_comes_first_to_the_letter_and_the_word(text, wanted, is_so):
    assert goes_on(text, wanted) is is_so


def test_rows_are_those_of_steering():
    found = table()
    assert len(found) == 3 * 2 * 3  # directions, lengths, prompts
    prompts = [prompt for prompt, _ in SUMS["right"]]
    texts = steerer().steer(prompts, alpha=1e4, tokens=3).texts["after"]
    own = found[(found["direction"] == "found") & (found["alpha"] == 1e4) & (found["set"] == "right")]
    assert all(text.startswith(said) or said.startswith(text) for text, said in zip(texts, own["said"], strict=True))


def test_without_steering_all_directions_say_the_same():
    plain = table()[table()["alpha"] == 0].groupby("set")["match"].mean()
    assert plain["wrong"] == 0
    assert table()[table()["alpha"] == 0].groupby(["set", "prompt"])["said"].nunique().eq(1).all()


def test_far_from_natural_nothing_is_right():
    assert not table()[table()["alpha"] == 1e4]["match"].any()


def test_shares_have_intervals_around_them_and_a_panel_each():
    found = rates(table())
    assert (found["low"] <= found["share"]).all()
    assert (found["share"] <= found["high"]).all()
    assert [ax.get_title() for ax in matches_figure(table()).axes] == ["right", "wrong"]


def test_a_random_direction_has_the_colour_of_the_one_that_it_is_as_long_as():
    name = table()["direction"]
    beside = table().assign(direction=name.where(name == "found", name + AS_LONG + "found"))
    for each, labels in ((table(), ["found", "random"]), (beside, ["found", f"random{AS_LONG}found"])):
        ax = matches_figure(each).axes[0]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == labels
        assert [line.get_linestyle() for line in ax.lines] == ["-", "--", "--"]
        inks = [line.get_color() for line in ax.lines]
        assert (inks[1:] == inks[:1] * 2) is (each is beside)


@pytest.mark.parametrize("pairs", [[], [("2 + 3 =", " ")]])
def test_a_set_without_what_is_wanted_is_refused(pairs):
    with pytest.raises(DasError, match="the set sums is"):
        matches(steerer(), {"sums": pairs}, (0.0,))
