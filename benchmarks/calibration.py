"""Calibration: do 95 % intervals hold the truth as often as they say, and how often is nothing taken for something?

    python benchmarks/calibration.py --json benchmarks/results/calibration.json

Hits are simulated by laws whose mean is known, on pairs that das draws from the tasks in tasks/ and on pools of its own; the
scores of searches that find nothing and failures that have no group are, too. A row: on what, by which law, what was found in
how many draws, what is asked, and whether it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import gauge
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from das.causal.columns import codes, concat
from das.judge.failures import failing_groups
from das.pairs.drawer import make_pairs
from das.pairs.origin import POOL
from das.pairs.pairs import Pairs
from das.pairs.pools import split_pools
from das.run.settings import Settings
from das.stats import Bootstrap, Null
from das.task.files import load_task
from das.task.hypothesis import Hypothesis

Ways = NDArray[np.int64]
"""Each pair's base and source prompt, as numbers. (2, pairs)"""
Row = dict[str, Any]

ROOT = Path(__file__).parent.parent
TASKS = {"arithmetic": "sum", "countries": "capital", "agreement": "subject"}
"""Of those in tasks/, and the hypothesis whose pairs are drawn."""

SETS = 5
"""How often the pairs of a task or pool are drawn; the draws of hits are shared out among them."""

COVERED, FALSE, GROUPS, FOUND = 0.93, 0.06, 0.05, 0.8
"""What is asked: of intervals at the least; of p < .05 where there is nothing, and of named groups, at the most; of p < .05
where there is something, at the least."""

SITES = 5
"""That each draw of a null searches."""


@dataclass(frozen=True)
class Law:
    """Hits with a known mean: a pair is hit where a sum of normal effects stays below a threshold.

    base, source, prompt, both: the share of the sum's variance that is due to the base prompt, the source prompt, a prompt in
    whichever role, and base and source together so that neither alone tells anything; the rest is a pair's and seed's own.
    apart: standard deviation of the seeds' means, nearly.
    """

    name: str
    base: float = 0.0
    source: float = 0.0
    prompt: float = 0.0
    both: float = 0.0
    mean: float = 0.7
    seeds: int = 1
    apart: float = 0.0

    def draw(self, ways: Ways, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Hits on pairs. (seeds, pairs)"""
        (base, source), threshold = ways, norm.ppf(self.mean)
        of = rng.standard_normal((5, int(ways.max()) + 1))
        effects = np.sqrt(self.base) * of[0, base] + np.sqrt(self.source) * of[1, source]
        effects += np.sqrt(self.prompt / 2) * (of[2, base] + of[2, source]) / np.sqrt(np.where(base == source, 2, 1))
        effects += np.sqrt(self.both) * np.sign(of[3, base]) * of[4, source]
        own = np.sqrt(1 - self.base - self.source - self.prompt - self.both) * rng.standard_normal((self.seeds, len(base)))
        shift = self.apart / norm.pdf(threshold)
        sums = effects + own + shift * rng.standard_normal((self.seeds, 1))
        return sums < threshold * np.sqrt(1 + shift**2)


RECURRING = (
    Law("nothing recurs"), Law("base", base=0.5), Law("source", source=0.5), Law("base and source", 0.3, 0.3),
    Law("either role", prompt=0.6), Law("interaction", both=0.6), Law("all of these", 0.15, 0.15, 0.15, 0.15),
)  # fmt: skip
STRONG = Law("base, decides", base=0.95), Law("source, decides", source=0.95)
NEAR_ONE = (
    Law("IIA .998", mean=0.998), Law("IIA .99, base", base=0.5, mean=0.99), Law("IIA .98, source", source=0.5, mean=0.98),
    Law("IIA .95, base and source", 0.3, 0.3, mean=0.95), Law("IIA .01", mean=0.01),
)  # fmt: skip
SEEDED = (
    Law("3 seeds, alike", seeds=3), Law("3 seeds, sd .05", seeds=3, apart=0.05), Law("3 seeds, sd .1", seeds=3, apart=0.1),
    Law("3 seeds, sd .05, base and source", 0.2, 0.2, seeds=3, apart=0.05), Law("2 seeds, sd .05", seeds=2, apart=0.05),
    Law("5 seeds, sd .1", seeds=5, apart=0.1),
)  # fmt: skip


# --- pairs ---


@dataclass(frozen=True)
class Drawn:
    """Pairs that das draws from a task, and their prompts."""

    hypothesis: Hypothesis
    pairs: Pairs
    ways: Ways


@cache
def of_task(name: str, seed: int) -> Drawn:
    """The test pairs of a shipped task, from the pool that a run with default settings has for them."""
    hypothesis = load_task(name, ROOT / "tasks").hypotheses[TASKS[name]]
    s, rng = Settings(name, "none"), np.random.default_rng(seed)
    sizes = {"train": s.train_pairs, "val": s.val_pairs, "test": s.test_pairs}
    pool = split_pools(hypothesis.model, {split: POOL * n for split, n in sizes.items()}, rng)["test"]
    pairs = make_pairs(hypothesis, pool, s.test_pairs, rng)
    tables = [pairs.base, *pairs.sources.values()]
    return Drawn(hypothesis, pairs, codes(*concat(tables).values()).reshape(len(tables), -1))


def of_pool(prompts: int, pairs: int, seed: int) -> Ways:
    """Pairs of prompts of which every one is as likely in either role."""
    return np.random.default_rng(seed).integers(0, prompts, (2, pairs))


# --- intervals ---


def covered(pairs: list[Ways], law: Law, draws: int) -> float:
    """The share of intervals that hold the mean."""
    rng, sets, inside = np.random.default_rng(0), [(ways, Bootstrap(ways)) for ways in pairs], 0
    for i in range(draws):
        ways, bootstrap = sets[i % len(sets)]
        low, high = bootstrap.interval(law.draw(ways, rng))
        inside += low <= law.mean <= high
    return inside / draws


def intervals(draws: int) -> Iterator[Row]:
    """Coverage by every law."""
    sets = {f"{name}'s pairs": [of_task(name, seed).ways for seed in range(SETS)] for name in TASKS}
    sets |= {f"pool of {n}": [of_pool(n, 1000, seed) for seed in range(SETS)] for n in (60, 30)}
    asked = [(on, law) for on in sets for law in RECURRING] + [(on, law) for on in list(sets)[3:] for law in STRONG]
    sets["300 pairs"] = [np.arange(600).reshape(2, 300)]
    sets["300 pairs of 100"] = [of_pool(100, 300, seed) for seed in range(SETS)]
    asked += [(on, law) for on in ("300 pairs", "300 pairs of 100") for law in NEAR_ONE]
    sets["1,000 pairs of 500"] = [of_pool(500, 1000, seed) for seed in range(SETS)]
    asked += [("1,000 pairs of 500", law) for law in SEEDED]
    for on, law in asked:
        yield at_least("coverage", on, law.name, covered(sets[on], law, draws), draws, COVERED)


# --- differences ---


def differing(law: Law, by: float, draws: int) -> float:
    """The share of p < .05 for two scores on the same pairs whose means lie so far apart."""
    ways, rng = of_pool(500, 1000, 0), np.random.default_rng(0)
    bootstrap, other = Bootstrap(ways), replace(law, mean=law.mean + by)
    return float(np.mean([bootstrap.difference(law.draw(ways, rng), other.draw(ways, rng)).p < 0.05 for _ in range(draws)]))


def differences(draws: int) -> Iterator[Row]:
    """Of means over 3 seeds: false positives, and what is found."""
    on = "difference of 3 seeds"
    for law in SEEDED[:4]:
        yield at_most("p < .05", on, law.name, differing(law, 0, draws), draws, FALSE)
    for law, by in ((SEEDED[0], 0.08), (replace(SEEDED[0], name="3 seeds, sd .02", apart=0.02), 0.15)):
        yield at_least("p < .05", on, f"{law.name}, {by} apart", differing(law, by, draws), draws, FOUND)


# --- nulls ---


def luck(name: str, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Scores by luck, by a law about as wide as 1/50."""
    shapes: Mapping[str, Any] = {
        "normal": rng.standard_normal, "Gumbel": lambda n: rng.gumbel(size=n), "exponential": lambda n: rng.exponential(size=n),
        "lognormal": lambda n: rng.lognormal(sigma=0.5, size=n), "gamma": lambda n: rng.gamma(2, size=n),
        "one in ten elsewhere": lambda n: rng.standard_normal(n) + 3 * (rng.random(n) < 0.1),
        "lognormal, sigma 1": lambda n: rng.lognormal(sigma=1, size=n) / 2,
    }  # fmt: skip
    scores: NDArray[np.float64] = 0.4 + shapes[name](n) / 50
    return scores


LUCK = ("normal", "Gumbel", "exponential", "lognormal", "gamma", "one in ten elsewhere", "lognormal, sigma 1")


def told(name: str, searches: int, cells: int, draws: int, score: float | None = None) -> float:
    """The share of p < .05 for a score, or for the best of a grid that finds nothing, against searches that found nothing."""
    rng = np.random.default_rng(0)
    laws = (Null(tuple(luck(name, rng, searches * SITES)), cells, 10**6) for _ in range(draws))
    return float(np.mean([law.p(score or luck(name, rng, cells).max()) < 0.05 for law in laws]))


def nulls(draws: int) -> Iterator[Row]:
    """False positives of the best of a grid, and whether an IIA of .9 is told from luck."""
    for searches in (5, 3):
        for cells in (16, 52):
            on = f"null, {searches} draws, grid of {cells}"
            for name in LUCK:
                yield at_most("p < .05", on, name, told(name, searches, cells, draws), draws, FALSE)
            yield at_least("p < .05", on, "normal, and IIA .9", told("normal", searches, cells, draws, 0.9), draws, FOUND)


# --- failing groups ---


def named(task: str, law: Law, worse: float, draws: int) -> float:
    """The share of draws in which a failing group is named. worse: how many hits are lost where the variable has, in the base
    run, the value that is commonest."""
    rng, count = np.random.default_rng(0), 0
    for i in range(draws):
        drawn = of_task(task, i % SETS)
        values = codes(drawn.hypothesis.model.run(drawn.pairs.base)[drawn.hypothesis.variables[0]])
        lost = (values == np.bincount(values).argmax()) & (rng.random(len(values)) < worse)
        count += bool(failing_groups(drawn.hypothesis, drawn.pairs, law.draw(drawn.ways, rng)[0] & ~lost, most=1))
    return count / draws


def groups(draws: int) -> Iterator[Row]:
    """How often a failing group is named where failures only recur by prompt, and where there is one."""
    for task in TASKS:
        for law in RECURRING[:5]:
            yield at_most("a group is named", f"{task}'s pairs", law.name, named(task, law, 0, draws), draws, GROUPS)
        law = Law("base, and one value fails", base=0.3, mean=0.95)
        yield at_least("a group is named", f"{task}'s pairs", law.name, named(task, law, 0.6, draws), draws, FOUND)


# --- rows ---


def at_least(what: str, on: str, law: str, found: float, draws: int, asked: float) -> Row:
    return {"what": what, "on": on, "law": law, "found": found, "asked": f"≥ {asked}", "draws": draws, "holds": found >= asked}


def at_most(what: str, on: str, law: str, found: float, draws: int, asked: float) -> Row:
    return {"what": what, "on": on, "law": law, "found": found, "asked": f"≤ {asked}", "draws": draws, "holds": found <= asked}


PARTS = {"intervals": intervals, "differences": differences, "nulls": nulls, "groups": lambda draws: groups(max(1, draws // 5))}


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--draws", type=int, default=500, help="for each row; a fifth as many of failing groups")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    rows = [row for part in arguments.parts for row in PARTS[part](arguments.draws)]
    gauge.table(rows)
    gauge.write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
