"""Statistics: what they say holds where prompts recur in every role, failures are few, seeds differ and luck is skewed."""

import numpy as np
import pytest

from das.stats import Bootstrap, Null

DRAWS = 120


def _covered(pool, n, by_base, by_source, seeds=1, apart=0.0, mean=0.7):
    rng, inside = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        base, source = rng.integers(0, pool, (2, n))
        chance = mean + by_base * rng.uniform(-1, 1, pool)[base] + by_source * rng.uniform(-1, 1, pool)[source]
        hits = rng.random((seeds, n)) < chance + apart * rng.standard_normal((seeds, 1))
        low, high = Bootstrap(np.stack([base, source])).interval(hits)
        inside += low <= mean <= high
    return inside / DRAWS


@pytest.mark.parametrize("pool", [30, 60, 129])
@pytest.mark.parametrize("effects", [(0, 0.29), (0.29, 0), (0.15, 0.14)])
def test_intervals_cover_the_population_of_prompts_in_either_role(pool, effects):
    assert _covered(pool, 1000, *effects) >= 0.89


def test_intervals_cover_it_near_one():
    assert _covered(9999, 300, 0, 0, mean=0.998) >= 0.9


@pytest.mark.parametrize("apart", [0.05, 0.1])
def test_intervals_cover_it_with_few_seeds_that_differ(apart):
    assert _covered(500, 1000, 0, 0, 3, apart, 0.6) >= 0.88


def test_hits_alone_are_not_certain():
    low, high = Bootstrap(np.arange(300)).interval(np.ones(300))
    assert 0.97 < low < 0.995
    assert high == 1


def test_differences_of_seeds_that_differ_are_seldom_found_where_there_is_none():
    rng = np.random.default_rng(0)
    pairs = Bootstrap(np.arange(500))
    hits = [[rng.random((3, 500)) < 0.6 + 0.05 * rng.standard_normal((3, 1)) for _ in "ab"] for _ in range(DRAWS)]
    assert np.mean([pairs.difference(*both).p < 0.05 for both in hits]) <= 0.08
    assert pairs.difference(rng.random((3, 500)) < 0.9, rng.random((3, 500)) < 0.6).p < 0.05


@pytest.mark.parametrize("cells", [16, 52])
@pytest.mark.parametrize("law", ["gumbel", "exponential", "lognormal", "standard_normal"])
def test_skewed_luck_is_not_taken_for_a_finding(cells, law):
    draw = getattr(np.random.default_rng(0), law)
    shape = {"sigma": 0.5} if law == "lognormal" else {}
    ps = [Null(tuple(draw(size=25, **shape) / 50), cells, 10**6).p(draw(size=cells, **shape).max() / 50) for _ in range(300)]
    assert np.mean(np.array(ps) < 0.05) <= 0.06


@pytest.mark.parametrize("scores", [15, 25])
def test_what_is_found_lies_above_the_luck_of_few_draws(scores):
    assert Null(tuple(0.5 + 0.02 * np.random.default_rng(0).standard_normal(scores)), 52, 512).p(0.82) < 0.05


# --- prompts in several roles ---


def test_a_prompt_that_a_pair_has_twice_counts_once():
    rng = np.random.default_rng(0)
    base, source = rng.integers(0, 40, (2, 500))
    hits = rng.random(500) < 0.5 + 0.4 * rng.uniform(-1, 1, 40)[source]
    two, three = Bootstrap(np.stack([base, source])), Bootstrap(np.stack([base, source, source]))
    assert three.interval(hits) == pytest.approx(two.interval(hits))
    assert np.allclose(three.means(hits), two.means(hits))
    alone = Bootstrap(np.stack([base, base]))
    assert alone.interval(hits) == pytest.approx(Bootstrap(base).interval(hits))


def test_sources_of_several_variables_are_each_a_role():
    """A variable that is not swapped has the base for its source."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        base, one, other = rng.integers(0, 40, (3, 600))
        swapped = rng.integers(1, 4, 600)
        ways = np.stack([base, np.where(swapped & 1, one, base), np.where(swapped & 2, other, base)])
        effect = 0.25 * rng.uniform(-1, 1, 40)
        hits = rng.random(600) < 0.6 + effect[base] + np.where(swapped & 2, effect[other] / 2, 0)
        low, high = Bootstrap(ways).interval(hits)
        inside += low <= 0.6 <= high
    assert 0.89 <= inside / DRAWS < 1


def test_draws_vary_as_much_as_the_interval_is_wide():
    rng = np.random.default_rng(0)
    ways = rng.integers(0, 60, (2, 1000))
    hits = rng.random(1000) < 0.6 + 0.3 * rng.uniform(-1, 1, 60)[ways[1]]
    low, high = Bootstrap(ways).interval(hits)
    assert 0.7 < 4 * Bootstrap(ways).means(hits).std() / (high - low) < 1.5


# --- seeds ---


@pytest.mark.parametrize("seeds", [2, 3])
def test_few_seeds_that_happen_to_agree_are_not_taken_to_agree(seeds):
    """What lies apart by seed is as large as what lies apart by prompt: neither may hide that the seeds are few."""
    assert _covered(500, 1000, 0.15, 0.14, seeds, 0.03, 0.6) >= 0.92


def test_a_p_value_belongs_to_its_interval():
    rng = np.random.default_rng(0)
    for gap in (0.03, 0.06, 0.09):
        found = Bootstrap(np.arange(500)).difference(rng.random((3, 500)) < 0.6 + gap, rng.random((3, 500)) < 0.6)
        assert (found.p < 0.05) == (found.low > 0)
    same = rng.random((3, 500)) < 0.6
    assert Bootstrap(np.arange(500)).difference(same, same).p == 1
