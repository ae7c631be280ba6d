"""Networks that take tensors: a swap is what a hook, or a loop written out by hand, would do."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from das import LM, DasError, Net
from das.interchange.selftest import make_engine
from das.task.fed import Feed
from das.task.texts import Texts
from das.task.tokenizer import make_tokenizer

N = 5


def rows(*shape, n=N, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def swapped(net, feed, spot, columns, values, **given):
    """What the engine answers with other values at a spot."""
    engine = make_engine(net, None, [spot[0]], 1, feed, [spot[1]])
    with torch.no_grad():
        return engine.resume(engine.capture(feed, [spot]), spot, torch.as_tensor(columns).expand(N, -1), values[None])[0]


def captured(net, feed, spot):
    engine = make_engine(net, None, [spot[0]], 1, feed, [spot[1]])
    return engine.capture(feed, [spot]).vectors[spot]


class Loop(nn.Module):
    """A cell over steps; it says what its last state tells. change: {step: state}, put in by hand."""

    def __init__(self, kind, size=6, steps=4):
        super().__init__()
        torch.manual_seed(1)
        self.cell, self.head, self.kind = getattr(nn, f"{kind}Cell")(3, size), nn.Linear(size, 4), kind

    def forward(self, x, change=None):
        state = None
        for step, one in enumerate(x.unbind(1)):
            state = self.cell(one, state)
            if change and step in change:
                state = tuple(change[step].chunk(2, -1)) if self.kind == "LSTM" else change[step]
        return self.head(state[0] if self.kind == "LSTM" else state)


class Fused(nn.Module):
    """The same by torch's own loop, with several layers."""

    def __init__(self, kind, layers=1, batch_first=True):
        super().__init__()
        torch.manual_seed(1)
        self.rnn, self.head, self.first = getattr(nn, kind)(3, 6, layers, batch_first=batch_first), nn.Linear(6, 4), batch_first

    def forward(self, x):
        out, _ = self.rnn(x if self.first else x.transpose(0, 1))
        return self.head(out[:, -1] if self.first else out[-1])


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("step", [0, 2, 3])
def test_a_cells_state_at_one_step_is_swapped_and_only_what_follows_goes_on_from_it(kind, step):
    net, x = Net(Loop(kind)), rows(4, 3)
    size = 12 if kind == "LSTM" else 6
    new = rows(1, size, seed=7)
    found = swapped(net, Feed({"": x}, 4), ("cell", 0), [step], new)
    torch.testing.assert_close(found, net.model(x, {step: new[:, 0]}), rtol=0, atol=1e-6)
    states = captured(net, Feed({"": x}, 4), ("cell", 0))
    assert states.shape == (N, 4, size)
    assert not torch.allclose(states[:, step], states[:, step - 1])


def test_rows_are_swapped_each_at_a_step_of_its_own_and_several_steps_at_once():
    net, x, new = Net(Loop("GRU")), rows(4, 3), rows(2, 6, seed=7)
    columns = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3]])
    found = swapped(net, Feed({"": x}, 4), ("cell", 0), columns, new)
    for row, (one, other) in enumerate(columns.tolist()):
        here = slice(row, row + 1)
        expected = net.model(x[here], {one: new[here, 0], other: new[here, 1]})
        torch.testing.assert_close(found[here], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "layers", "first"), [("GRU", 1, True), ("GRU", 2, False), ("LSTM", 2, True), ("RNN", 1, False)]
)
def test_what_torch_runs_at_once_goes_on_from_the_swapped_state_too(kind, layers, first):
    net, x = Net(Fused(kind, layers, first), cells=[]), rows(4, 3)
    size = 6 * layers * (2 if kind == "LSTM" else 1)
    new, feed = rows(1, size, seed=7), Feed({"": x}, 4)
    found = swapped(net, feed, ("rnn", 0), [1], new)
    state = tuple(p.unflatten(1, (layers, 6)).transpose(0, 1).contiguous() for p in new[:, 0].split(6 * layers, -1))
    later = x[:, 2:] if first else x[:, 2:].transpose(0, 1)
    out, _ = net.model.rnn(later, state if kind == "LSTM" else state[0])
    torch.testing.assert_close(found, net.model.head(out[:, -1] if first else out[-1]), rtol=0, atol=1e-6)
    same = captured(net, feed, ("rnn", 0))
    torch.testing.assert_close(swapped(net, feed, ("rnn", 0), [1], same[:, 1:2]), net.model(x), rtol=0, atol=1e-6)
    top = net.model.rnn(x if first else x.transpose(0, 1))[0]
    torch.testing.assert_close(
        same[..., 6 * (layers - 1) : 6 * layers], top if first else top.transpose(0, 1), rtol=0, atol=1e-6
    )


class Reader(nn.Module):
    """Reads token ids, and says what it makes of the last."""

    def __init__(self, words):
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.cell, self.head = nn.Embedding(words, 3), nn.GRU(3, 6, batch_first=True), nn.Linear(6, words)

    def forward(self, ids, state=None):
        return self.head(self.cell(self.embed(ids), state)[0])


def test_a_state_is_swapped_at_a_token_of_a_network_that_reads_words_of_any_length():
    tokenizer = make_tokenizer(["a b c d e"])
    lm = LM(Reader(len(tokenizer)), tokenizer)
    prompts = Texts(["a b c", "d e", "b a d c e", "c a"], {}).encode(tokenizer, ["first+1"])
    new, at = rows(1, 6, n=4, seed=7), torch.from_numpy(prompts.positions["first+1"])
    engine = make_engine(lm, None, ["cell"], 6, prompts)
    with torch.no_grad():
        capture = engine.capture(prompts, [("cell", 0)])
        found = engine.resume(capture, ("cell", 0), at, new[None])[0]
    for row, length in enumerate(prompts.lengths):
        ids = torch.from_numpy(prompts.ids[row : row + 1, -length:])
        expected = lm.model(ids[:, 2:], new[row][None])[:, -1]
        torch.testing.assert_close(found[row : row + 1], expected, rtol=0, atol=1e-6)
        states = lm.model.cell(lm.model.embed(ids))[0][0]
        torch.testing.assert_close(capture.vectors["cell", 0][row, -length:], states, rtol=0, atol=1e-6)


def conv():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_without_places_what_a_module_makes_is_one_vector(layer):
    net, x = Net(conv()), rows(1, 4, 4)
    other = rows(1, 4, 4, seed=5)
    feed, spot = Feed({"": x}), ("block_output", layer)
    whole = captured(net, Feed({"": other}), spot)
    assert whole.shape == (N, 1, net.model[: layer + 1](other).flatten(1).shape[1])
    torch.testing.assert_close(swapped(net, feed, spot, [0], whole), net.model(other), rtol=0, atol=1e-6)


def test_a_region_of_an_image_is_the_columns_of_its_places():
    net, x, other = Net(conv()), rows(1, 4, 4), rows(1, 4, 4, seed=5)
    spot, region = ("block_output", 0), [5, 6, 9]
    values = captured(net, Feed({"": other}, 16), spot)[:, region]
    found = swapped(net, Feed({"": x}, 16), spot, region, values)
    maps, theirs = net.model[0](x), net.model[0](other)
    for place in region:
        maps[:, :, place // 4, place % 4] = theirs[:, :, place // 4, place % 4]
    torch.testing.assert_close(found, net.model[1:](maps), rtol=0, atol=1e-6)


def test_layers_are_the_children_opened_or_those_that_are_named():
    net = Net(Fused("GRU"))
    assert net.names == ["rnn", "head"]
    assert Net(conv()).names == ["0", "1", "2", "3", "4"]
    assert Net(conv(), blocks=["0", "2"]).layers == 2
    with pytest.raises(DasError, match="did you mean 'head'"):
        Net(Loop("GRU"), blocks=["haed"])


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x) + torch.rand(len(x), 2)


class Joined(Noisy):
    def forward(self, x):
        return self.layer(x) - self.layer(x).mean(0)


def test_what_das_cannot_ask_is_refused_with_a_word():
    feed = Feed({"": rows(3)})
    for module in (Noisy(), Joined()):
        with pytest.raises(DasError, match="random, or rows depend on each other"):
            make_engine(Net(module), None, ["layer"], 1, feed)
    broken = Noisy()
    broken.layer.weight.data[:] = float("nan")
    with pytest.raises(DasError, match="not finite"):
        make_engine(Net(broken), None, ["layer"], 1, feed)
    with pytest.raises(DasError, match="to take these inputs"):
        make_engine(Net(nn.Sequential(nn.Linear(4, 2))), None, None, 1, feed)


def test_dropout_is_off():
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    net = Net(model)
    torch.testing.assert_close(captured(net, Feed({"": rows(3)}), ("block_output", 1))[:, 0], model[0](rows(3)))


def test_steps_that_are_not_the_places_are_refused():
    with pytest.raises(DasError, match=r"makes 4 steps .* of 1 places.*places="):
        swapped(Net(Loop("GRU")), Feed({"": rows(4, 3)}), ("cell", 0), [0], rows(1, 6))
    both = nn.Sequential()
    both.add_module("rnn", nn.GRU(3, 6, batch_first=True, bidirectional=True))
    with pytest.raises(DasError, match="reads both ways"):
        captured(Net(both, read=lambda out: out[0]), Feed({"": rows(4, 3)}, 4), ("rnn", 0))


def test_scores_are_read_where_the_user_says_and_tensors_go_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(3, 2), nn.Embedding(5, 2)

        def forward(self, dense, sparse):
            return {"scores": self.left(dense) + self.right(sparse)}

    feed = Feed({"sparse": torch.arange(N), "dense": rows(3).double()})
    net = Net(Named(), read=lambda out: out["scores"])
    expected = net.model(rows(3), torch.arange(N))["scores"]
    torch.testing.assert_close(net.logits(feed), expected)
    with pytest.raises(DasError, match="read="):
        Net(deepcopy(net.model)).logits(feed)


def test_gradients_of_a_cells_states_are_those_of_autograd():
    net, x = Net(Loop("GRU")), rows(4, 3)
    engine = make_engine(net, None, ["cell"], 1, Feed({"": x}, 4), [0])
    capture = engine.capture(Feed({"": x}, 4), [("cell", 0)])
    slopes = engine.gradients(capture, [("cell", 0)], lambda scores: scores[:, 1].sum()).vectors["cell", 0]
    state = capture.vectors["cell", 0][:, 1].clone().requires_grad_()
    net.model(x, {1: state})[:, 1].sum().backward()
    torch.testing.assert_close(slopes[:, 1], state.grad, rtol=0, atol=1e-6)
    assert np.isfinite(slopes.numpy()).all()
