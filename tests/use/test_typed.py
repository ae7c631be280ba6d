"""What is typed on the command line is what the same words mean in Python."""

import pytest

from das.task.pointing import Substring
from das.use.typed import pointers


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("8", 8), ("last", "last"), ('"4"', Substring("4")), ("red", "red"),
        ("{c.last: 8, last: -1}", {"c.last": 8, "last": -1}),
        ("{c.last: \"4\", last: '-1', d: last}", {"c.last": Substring("4"), "last": Substring("-1"), "d": "last"}),
        ("{c.last: null, last: red}", {"c.last": None, "last": "red"}),
    ],
)  # fmt: skip
def test_a_number_is_a_token_and_one_in_quotes_a_piece_of_the_text(typed, meant):
    assert pointers(typed) == meant
