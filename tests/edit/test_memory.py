"""A linear memory: what an edit writes is answered, by a change of rank one, and common keys are left more alone with the
covariance than without."""

import pytest
import torch
from torch import nn

from das import DasError
from das.edit.covariance import Moment
from das.edit.memory import Memory
from das.edit.patch import Change
from das.edit.rome import insert

KEYS, VALUES, TOKENS = 64, 32, 4096


def planted():
    """A matrix, keys that are common in some directions and rare in others, and one more key."""
    rng = torch.Generator().manual_seed(0)
    spread = torch.linspace(0.1, 3, KEYS) * torch.linalg.qr(torch.randn(KEYS, KEYS, generator=rng))[0]
    keys = torch.randn(TOKENS, KEYS, generator=rng) @ spread
    matrix = nn.Parameter(torch.randn(VALUES, KEYS, generator=rng))
    return matrix, keys, torch.randn(KEYS, generator=rng) @ spread, torch.randn(VALUES, generator=rng)


def written(moment, ridge=0.0):
    matrix, keys, key, delta = planted()
    values, direction = insert(Memory(0, "w", matrix, False), moment, key, delta, ridge)
    made = Change.of(matrix, values[:, None], direction[:, None])
    return matrix.detach(), made.of_matrix(matrix), keys, key, delta


def of(keys):
    return Moment(keys.T @ keys / len(keys), len(keys))


def test_the_key_is_answered_by_what_was_wanted_by_a_change_of_rank_one():
    before, after, _, key, delta = written(of(planted()[1]))
    wanted = before @ key + delta
    assert float((after @ key - wanted).abs().max() / wanted.abs().max()) <= 1e-5
    values = torch.linalg.svdvals((after - before).double())
    assert values[1] / values[0] < 1e-5


def test_other_keys_are_moved_less_with_the_covariance_than_without_and_far_less_than_by_any_direction():
    _, keys, key, delta = planted()

    def moved(change):
        return float((change @ keys.T).square().sum(0).mean().sqrt())

    def by(direction):
        return moved(delta[:, None] * direction / (direction @ key))

    with_it, without = (moved(after - before) for before, after, *_ in (written(of(keys)), written(Moment.none(KEYS))))
    any_one = [by(torch.randn(KEYS, generator=torch.Generator().manual_seed(seed))) for seed in range(20)]
    assert with_it < 0.9 * without
    assert without < 0.5 * float(torch.tensor(any_one).median())


def test_the_least_change_is_the_least_of_all_that_answer_the_key():
    before, after, keys, key, delta = written(of(planted()[1]))
    moment = of(keys).matrix
    least = torch.trace((after - before) @ moment @ (after - before).T)
    for seed in range(5):
        other = torch.randn(KEYS, generator=torch.Generator().manual_seed(seed))
        other = delta[:, None] * (other / (other @ key))[None]
        assert least < torch.trace(other @ moment @ other.T)


def test_a_key_of_nothing_is_refused():
    matrix, keys, key, delta = planted()
    with pytest.raises(DasError, match="the key of layer 0 is zero"):
        insert(Memory(0, "w", matrix, False), of(keys), key * 0, delta)
