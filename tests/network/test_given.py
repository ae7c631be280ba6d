"""A network as it was given: the same by name and as an object, and no weights before they are asked for."""

import pytest

from das.network.given import Given
from das.network.lm import LM

NAME = "price-tagger-tiny"


@pytest.mark.parametrize("lm", [NAME, LM.load(NAME)], ids=["name", "object"])
def test_shape_and_tokenizer_are_those_of_the_network(lm):
    given, loaded = Given(lm), LM.load(NAME)
    assert (given.layers, given.width) == (loaded.layers, loaded.width)
    assert given.tokenizer("Yes")["input_ids"] == loaded.tokenizer("Yes")["input_ids"]
    assert given.config.num_hidden_layers == loaded.model.config.num_hidden_layers
    assert given.skeleton.tap("block_output", 0)
    assert given.lm is given.lm


def test_no_weights_are_loaded_before_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(LM, "load", lambda *_: pytest.fail("weights were loaded"))
    given = Given(NAME)
    assert given.tokenizer.vocab_size
    assert given.layers == given.skeleton.layers
