"""Latents: a swap moves the chosen ones along their decoder rows, and leaves the error where it is."""

import pytest
import torch

from das.find.alignment import Alignment, Cell
from das.find.kinds import Full
from das.interchange.feature import changes
from das.interchange.latents import Latents, Reconstruction
from das.interchange.sae import SAE
from das.network.site import Site

D, LATENTS = 12, 40
GENERATOR = torch.Generator().manual_seed(0)
BASE, SOURCES = torch.randn(30, D, generator=GENERATOR), torch.randn(2, 30, D, generator=GENERATOR)


def sae(kind="relu"):
    generator = torch.Generator().manual_seed(1)
    encoder, decoder = torch.randn(D, LATENTS, generator=generator), torch.randn(LATENTS, D, generator=generator)
    bias, centre = torch.randn(LATENTS, generator=generator), torch.randn(D, generator=generator)
    threshold = torch.rand(LATENTS, generator=generator) if kind == "jumprelu" else None
    return SAE(encoder, bias, decoder, centre, threshold, 5 if kind == "topk" else 0)


def latents(kind="relu", chosen=((3, 17, 8), (5, 30, 1))):
    return Latents.of(sae(kind), torch.tensor(chosen), torch.arange(LATENTS).float())


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_a_swap_moves_the_chosen_latents_alone(kind):
    own, feature = sae(kind), latents(kind)
    change = torch.zeros_like(BASE)
    for source, mine in zip(SOURCES, [(3, 17, 8), (5, 30, 1)], strict=True):
        for i in mine:
            change += (own.encode(source)[:, i] - own.encode(BASE)[:, i])[:, None] * own.decoder[i]
    torch.testing.assert_close(feature.swap(BASE, SOURCES), change)
    torch.testing.assert_close(feature.read(BASE, 1), own.encode(BASE)[:, [5, 30, 1]])
    assert (feature.size, feature.called(1)) == (6, [5, 30, 1])


def test_its_directions_are_the_decoders_rows_of_what_is_swapped():
    feature = latents().masked(torch.tensor([[1.0, 0, 1], [0, 0, 0]]))
    assert torch.equal(feature.directions(0), sae().decoder[[3, 8]].T)
    assert feature.directions(1) is None


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_all_latents_and_the_error_are_the_whole_vector(kind):
    own = sae(kind)
    every = Latents.of(own, torch.arange(LATENTS)[None], torch.zeros(LATENTS))
    error = [rows - own.reconstruct(rows) for rows in (BASE, SOURCES[0])]
    moved = every.swap(BASE, SOURCES[:1]) + error[1] - error[0]
    torch.testing.assert_close(moved, SOURCES[0] - BASE, rtol=0, atol=1e-5 * float(BASE.abs().max()))
    torch.testing.assert_close(every.complement.swap(BASE, SOURCES[:1]), error[1] - error[0], rtol=0, atol=1e-4)
    assert every.twin(torch.Generator()) is None, "there are no others"


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_what_is_kept_makes_the_same_swap_without_the_dictionary(kind, tmp_path):
    feature = latents(kind).sorted(torch.tensor([[2, 0, 1], [0, 2, 1]])).masked(torch.tensor([[1.0, 1, 0], [1, 0, 0]]))
    Alignment(Cell("x", Site(0, "last"), Full()), feature).save(tmp_path)
    again = Alignment.load(tmp_path).feature
    assert torch.equal(again.swap(BASE, SOURCES), feature.swap(BASE, SOURCES))
    assert torch.equal(
        again.twin(torch.Generator().manual_seed(2)).chosen, feature.twin(torch.Generator().manual_seed(2)).chosen
    )
    assert again.called(0) == [8, 3]
    assert again.sae.latents < LATENTS, "no more is kept than is needed"


def test_several_features_at_once_are_each_by_itself():
    some = [latents(), latents("topk"), latents(chosen=((0, 1), (2, 3)))]
    for one, change in zip(some, changes(some, BASE, SOURCES), strict=True):
        torch.testing.assert_close(change, one.swap(BASE, SOURCES))


def test_a_random_feature_has_other_latents_that_are_as_active():
    feature = latents()
    for seed in range(20):
        twin = feature.twin(torch.Generator().manual_seed(seed))
        numbers = twin.numbers[twin.chosen]
        assert numbers.unique().numel() == 6
        assert not set(numbers.flatten().tolist()) & {3, 17, 8, 5, 30, 1}
        assert (numbers - torch.tensor([[3, 17, 8], [5, 30, 1]])).abs().float().mean() < 8, "activity is the number here"


def test_a_random_feature_is_there_though_all_chosen_latents_are_the_most_active():
    most = torch.arange(LATENTS - 1, LATENTS - 13, -1)[None]
    twin = Latents.of(sae(), most, torch.arange(LATENTS).float()).twin(torch.Generator().manual_seed(0))
    assert twin.numbers[twin.chosen].unique().numel() == 12


def test_a_reconstruction_is_put_in_place_whatever_the_source():
    feature = Reconstruction(sae())
    torch.testing.assert_close(BASE + feature.swap(BASE, SOURCES[:1]), sae().reconstruct(BASE))
