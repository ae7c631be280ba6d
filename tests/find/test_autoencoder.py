"""Sparse autoencoders find a synthetic dictionary's features: 64 directions in 32 dimensions, 3 of them active at once."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from das.errors import DasError
from das.find import autoencoder
from das.find.autoencoder import Autoencoder, Law
from das.interchange.latents import Latents
from das.interchange.sae import quality
from das.interchange.subspace import Subspace

FEATURES, D, ACTIVE, STEPS = 64, 32, 3, 200


def generator(seed):
    return torch.Generator().manual_seed(seed)


TRUE = torch.nn.functional.normalize(torch.randn(FEATURES, D, generator=generator(0)))


def drawn(n, g):
    """Features (n, 64), and the vectors that they add up to."""
    at = torch.rand(n, FEATURES, generator=g).topk(ACTIVE, 1).indices
    values = torch.zeros(n, FEATURES).scatter(1, at, 0.5 + torch.rand(n, ACTIVE, generator=g))
    return values, values @ TRUE


@cache
def trained(kind):
    g = generator(1)
    model = Autoencoder(Law(kind, FEATURES, ACTIVE, 1.0), drawn(2000, g)[1])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 5 * (1 - step / STEPS)))
    for step in range(STEPS):
        optimizer.zero_grad()
        model.loss(drawn(256, g)[1], min(1.0, 10 * step / STEPS)).backward()
        optimizer.step()
        rate.step()
    return model.frozen()


@cache
def matched(kind):
    """Of each true feature, the latent that it is matched to, and |cos| of the two."""
    alike = (trained(kind).decoder @ TRUE.T).numpy()
    latents, features = linear_sum_assignment(-alike)
    return dict(zip(features.tolist(), latents.tolist(), strict=True)), alike[latents, features].mean()


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "jumprelu", "l1"])
def test_the_features_are_found(kind):
    assert matched(kind)[1] >= 0.9
    found = quality(trained(kind), drawn(2000, generator(2))[1])
    assert found.explained > 0.85
    assert found.dead < 0.05
    if kind != "l1":
        assert found.l0 == pytest.approx(ACTIVE, rel=0.15)
    lengths = trained(kind).decoder.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(FEATURES))


def test_a_swap_of_a_latent_lies_between_the_best_neuron_and_the_true_direction():
    """Success: after the swap the feature is read, along its true direction, as present or absent as it is in the source."""
    values, rows = drawn(3000, generator(3))
    base, source, theirs = rows[:1500], rows[1500:], values[1500:] > 0
    differs = theirs != (values[:1500] > 0)

    def success(feature, j):
        read = (base + feature.swap(base, source[None])) @ TRUE[j] > 0.5
        return float((read == theirs[:, j])[differs[:, j]].float().mean())

    def column(direction):
        return Subspace(direction[:, None, None], torch.ones(1, 1))

    sae, latent_of = trained("topk"), matched("topk")[0]
    each = [
        (
            max(success(column(axis), j) for axis in torch.eye(D)[TRUE[j].abs().topk(3).indices]),
            success(Latents.of(sae, torch.tensor([[latent_of[j]]]), torch.zeros(FEATURES)), j),
            success(column(TRUE[j]), j),
        )
        for j in range(0, FEATURES, 4)
    ]
    neuron, latent, direction = np.mean(each, 0)
    assert neuron + 0.3 < latent < direction


@pytest.mark.parametrize(("aux", "revived"), [(autoencoder.AUX, True), (0.0, False)])
def test_dead_latents_come_back_to_life_by_the_loss_for_them_alone(aux, revived, monkeypatch):
    """All latents but three begin where nothing reaches them."""
    monkeypatch.setattr(autoencoder, "AUX", aux)
    _, rows = drawn(2000, generator(4))
    model = Autoencoder(Law("topk", FEATURES, ACTIVE), rows)
    with torch.no_grad():
        model.bias[3:] = -8.0
    optimizer, batches = torch.optim.Adam(model.parameters(), 3e-2), generator(5)
    before = quality(model.frozen(), rows).dead
    for _ in range(220):
        optimizer.zero_grad()
        model.loss(rows[torch.randint(len(rows), (128,), generator=batches)]).backward()
        optimizer.step()
    assert before > 0.9
    assert quality(model.frozen(), rows).dead < 0.5 if revived else quality(model.frozen(), rows).dead == before


def test_the_frozen_one_is_the_trained_one():
    """In the vectors' own units, whatever their size: the error that was trained on is that of the reconstruction."""
    rows = 1000 + 70 * drawn(500, generator(6))[1]
    for kind in ("topk", "jumprelu", "l1"):
        model = Autoencoder(Law(kind, FEATURES, ACTIVE, l1=0.0), rows)
        with torch.no_grad():
            model.decoder.mul_(torch.rand(FEATURES, 1, generator=generator(7)) + 0.5)
        mine = float(model.loss(rows, 0.0).detach() / model.scale.square())
        theirs = float((rows - model.frozen().reconstruct(rows)).square().sum(1).mean())
        assert mine == pytest.approx(theirs, rel=1e-3)


def test_an_unknown_kind_is_named():
    with pytest.raises(DasError, match="did you mean 'topk'"):
        Law("top_k")
