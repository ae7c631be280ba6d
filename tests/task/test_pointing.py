"""A pointer leads to the token that it says, or to an error that says why not."""

import numpy as np
import pytest

from das.errors import DasError
from das.task.pointing import Substring, encode_at, numbers_of
from das.task.texts import Texts
from das.task.tokenizer import make_tokenizer

TEXTS = ["It costs 4.00 dollars, not 4.05 dollars", "Now it costs 7.50 dollars, not 4.05 dollars"]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(TEXTS)


def tokens(tokenizer, pointer, texts=TEXTS):
    """The tokens that a pointer leads to, as their texts, for each prompt."""
    found = encode_at(Texts(list(texts), {}), tokenizer, "here", pointer)
    ids = np.take_along_axis(found.ids, found.positions["here"], 1)
    unpadded = [row[-n:] for row, n in zip(found.ids, found.lengths, strict=True)]
    numbers = numbers_of(found, "here")
    assert all((row[at] == own).all() for row, at, own in zip(unpadded, numbers, ids, strict=True))
    return [" ".join(tokenizer.convert_ids_to_tokens(row.tolist())) for row in ids]


CASES = [
    (0, ["<s>", "<s>"]),
    (-1, ["dollars", "dollars"]),
    (1, ["It", "Now"]),
    ([1, -2], ["It", "5"]),
    ("last-1", ["5", "5"]),
    ("first+1", ["It", "Now"]),
    ("costs", ["costs", "costs"]),
    (["4.00", "7.50"], ["4 . 0 0", "7 . 5 0"]),
    ([Substring("4.00", "last"), Substring("7.50", "first")], ["0", "7"]),
    (Substring("dollars", occurrence=0), ["dollars", "dollars"]),
    (Substring(" 4.0", "last", -1), ["0", "0"]),
    ((1, "last"), ["It dollars", "Now dollars"]),
    (("not", "costs"), ["not costs", "not costs"]),
]


@pytest.mark.parametrize(("pointer", "expected"), CASES)
def test_a_pointer_leads_where_it_says(pointer, expected, tokenizer):
    assert tokens(tokenizer, pointer) == expected


def test_the_same_piece_at_another_occurrence_is_another_token(tokenizer):
    one, other = (encode_at(Texts(TEXTS, {}), tokenizer, "x", Substring("dollars", occurrence=i)) for i in (0, 1))
    assert (numbers_of(one, "x") < numbers_of(other, "x")).all()
    assert (numbers_of(other, "x")[:, 0] == other.lengths - 1).all()


def test_a_field_is_found_where_it_was_written(tokenizer):
    spans = {"price": np.array([[9, 13], [13, 17]])}
    found = encode_at(Texts(TEXTS, spans), tokenizer, "here", "price.last")
    ids = np.take_along_axis(found.ids, found.positions["here"], 1)[:, 0].tolist()
    assert tokenizer.convert_ids_to_tokens(ids) == ["0", "0"]
    assert numbers_of(found, "here")[:, 0].tolist() == [6, 7]


WRONG = [
    ("dollars", "stands 2 times"),
    (Substring("dollars", occurrence=2), "no occurrence 2"),
    ("euros", "does not stand in"),
    (40, "no token 40"),
    (-20, "no token -20"),
    ("last+1", "outside the prompt"),
    ([1], "1 positions for 2 prompts"),
    (["4.00", "costs"], "covers 1 to 4 tokens"),
    (True, "expected a token's number"),
    (None, "expected a token's number"),
]


@pytest.mark.parametrize(("pointer", "why"), WRONG)
def test_a_pointer_that_leads_nowhere_or_to_several_places_is_refused(pointer, why, tokenizer):
    with pytest.raises(DasError, match=why):
        tokens(tokenizer, pointer)


@pytest.mark.parametrize("given", [("",), (" ",), (4,), ("a", "middle"), ("a", "last", "1")])
def test_what_is_no_piece_is_refused(given):
    with pytest.raises(DasError):
        Substring(*given)
