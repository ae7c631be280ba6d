"""Material: what every process of a run needs, made the same way by each from the settings alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from das.causal.columns import Column, Columns, codes, joined
from das.interchange.accuracy import correct
from das.interchange.engine import Engine
from das.interchange.measures import check_matched
from das.interchange.selftest import make_engine
from das.network.given import Given
from das.network.lm import LM
from das.network.parts import a_few
from das.network.site import single_components, single_layers
from das.pairs.dataset import Dataset, Rows
from das.pairs.origin import Given as GivenPairs
from das.pairs.origin import Origin, origins
from das.pairs.pairs import Pairs
from das.run.settings import Settings
from das.task.identity import identities
from das.task.rendered import Prompts
from das.task.task import Task
from das.task.variant import BASE

SPLITS = ("train", "val", "test")


@dataclass
class Material:
    """pairs: split → hypothesis → pairs. data: split → the same as tokens. pool: the test split's prompts. outputs: the
    values that answers of any split may have, each once: where answers end, and which are near, is the same for all pairs.

    left_out: hypothesis → how many of the pairs that were brought are not used, since the network answers a prompt of theirs
    wrongly. prefix, longest: what all prompts begin with, and how many tokens the longest has. trial: a few prompts, by which
    an engine is tried.
    """

    lm: LM
    engine: Engine
    pairs: dict[str, dict[str, Pairs]]
    data: dict[str, Dataset]
    pool: Columns
    outputs: Column
    left_out: dict[str, int]
    components: Sequence[str]
    layers: Sequence[int] | None
    prefix: Rows
    longest: int
    trial: Prompts

    @classmethod
    def make(
        cls, settings: Settings, network: Given, task: Task, hypotheses: Sequence[str], positions: Sequence[str],
        splits: Sequence[str] = SPLITS,
    ) -> Material:  # fmt: skip
        """Draws or takes the pairs of the splits, labels and tokenizes them; the network's weights are loaded where they are
        needed: last, unless prompts are to be those that it answers correctly.

        The engine's prefix is that of every prompt of the pairs and of the test pool, of which more is asked than the pairs.
        """
        s, tokenizer = settings, network.tokenizer
        origin = origins_of(s, network, task, hypotheses)
        pairs = {split: {name: origin[split].pairs(name) for name in hypotheses} for split in splits}
        pool = origin["test"].pool
        outputs = _outputs(task, origin, pairs)
        data = {split: Dataset.make(task, tokenizer, p, positions, outputs) for split, p in pairs.items()}
        every = [*data.values(), Dataset(task.encode(pool, tokenizer, positions), {})]
        check_matched(s.loss, s.measures, task.measures, data)
        prefix, longest = _common_prefix(every), max(int(d.prompts.lengths.max()) for d in every)
        trial = a_few(type(every[0].prompts).concat([a_few(d.prompts) for d in every]))
        components, layers = single_components(s.components), None if isinstance(s.layers, str) else single_layers(s.layers)
        engine = make_engine(network.lm, prefix, components, longest, trial, layers)
        left_out = _left_out(task, origin)
        return cls(network.lm, engine, pairs, data, pool, outputs, left_out, components, layers, prefix, longest, trial)

    def engine_of(self, lm: LM) -> Engine:
        """An engine like this one for another network."""
        return make_engine(lm, self.prefix, self.components, self.longest, self.trial, self.layers)


def origins_of(s: Settings, network: Given, task: Task, hypotheses: Sequence[str]) -> dict[str, Origin]:
    """Split → where its pairs come from, as the settings say. The network's weights are loaded only where it has to answer."""
    sizes = {"train": s.train_pairs, "val": s.val_pairs, "test": s.test_pairs}
    asked, accept = task.variant(BASE), None
    if s.only_correct:
        accept = partial(correct, asked, network.lm, engine=make_engine(network.lm))
    identity = partial(identities, asked, [*task.hypotheses.values()], network.tokenizer)
    return origins(task, hypotheses, sizes, s.seed, s.families, identity, accept)


def _left_out(task: Task, origin: Mapping[str, Origin]) -> dict[str, int]:
    """Hypothesis → how many of the pairs that were brought are in no split."""
    given = [some.brought for some in origin.values() if isinstance(some, GivenPairs)]
    return {name: len(every) - sum(len(some[name]) for some in given) for name, every in task.pairs.items()}


def _outputs(task: Task, origin: Mapping[str, Origin], pairs: Mapping[str, Mapping[str, Pairs]]) -> Column:
    """The values of the answers to the pairs and to the pools of all splits, each once."""
    said = [column for some in pairs.values() for p in some.values() for column in (p.answer, *p.own_answers)]
    every = joined([*said, *(task.outputs(some.pool) for some in origin.values())])
    return every[np.unique(codes(every), return_index=True)[1]]


def _common_prefix(data: Sequence[Dataset]) -> Rows:
    """The tokens that the prompts of all data sets begin with."""
    prefixes = [some.shared_prefix() for some in data]
    shortest = min(map(len, prefixes))
    same = (np.stack([p[:shortest] for p in prefixes]) == prefixes[0][:shortest]).all(0)
    return prefixes[0][: np.argmin([*same, False])]
