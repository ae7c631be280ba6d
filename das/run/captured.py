"""Captured: how often prompts are captured in a run, and how many bytes of that are kept between steps."""

from __future__ import annotations

import math

from das.pairs.origin import POOL
from das.run.amounts import Amounts, Meter, together
from das.run.layout import Layout
from das.run.shape import key_heads


def number_bytes(e: Layout) -> int:
    """Of one of the network's numbers."""
    return 4 if e.settings.dtype == "float32" else 2


def distinct(e: Layout, pairs: float) -> float:
    """Distinct prompts that are bases, or sources, of so many pairs of each hypothesis, all from one pool."""
    return POOL * pairs * (1 - (1 - 1 / POOL) ** len(e.hypotheses))


def met(pool: float, drawn: float) -> float:
    """Distinct prompts among so many that are drawn from a pool, on the average."""
    return pool * (1 - math.exp(-drawn / pool))


def pair_bytes(e: Layout, own: int) -> float:
    """Of a pair's captures: both prompts' hidden states at the grid's layers, from the first position on, and the base's keys
    and values at all."""
    config = e.network.shape
    suffix = max(e.sample.width - int(at.min()) for at in e.sample.positions.values())
    keys = 2 * config.num_hidden_layers * config.hidden_size * key_heads(config) / config.num_attention_heads
    return float(number_bytes(e) * (2 * suffix * config.hidden_size * len(e.layers) + own * keys))


def every_bytes(e: Layout, own: int) -> float:
    """Of the captures of all pairs that are trained and chosen on."""
    return pair_bytes(e, own) * distinct(e, e.settings.train_pairs + e.settings.val_pairs)


def finds_room(e: Layout, room: float) -> bool:
    """Whether all that a run's pairs leave behind can be kept in so many bytes."""
    s = e.settings
    return pair_bytes(e, Meter(e).own) * distinct(e, s.train_pairs + s.val_pairs + s.test_pairs) <= room


class Capturing:
    """What captures take of the forwards. room: bytes for them, over all workers."""

    def __init__(self, meter: Meter, room: float) -> None:
        e, s = meter.e, meter.e.settings
        self.meter, self.names = meter, len(e.hypotheses)
        self.kept = min(1.0, room / s.workers / max(1.0, every_bytes(e, meter.own)))

    def steps(self, steps: float, names: int) -> Amounts:
        """Of a training of so many hypotheses: pairs that find room are captured once, the others whenever they are drawn."""
        e, s = self.meter.e, self.meter.e.settings
        drawn = steps * s.batch
        again = (1 - self.kept) * steps * met(POOL * s.train_pairs, names * s.batch)
        once = distinct(e, min(s.train_pairs, drawn)) * names / self.names
        return self.meter.captured(rows := self.kept * once + again, rows, (1 - self.kept) * steps)

    @staticmethod
    def unsaid(pairs: float, names: int) -> float:
        """Prompts that were no bases, and are asked too, so that it is known how often the network is right."""
        return met(POOL * pairs, 2 * names * pairs) - met(POOL * pairs, names * pairs)

    def passes(self, pairs: float, passes: float, names: int | None = None) -> Amounts:
        """Of so many passes over pairs of hypotheses, by default of all of them."""
        names = self.names if names is None else names
        once = distinct(self.meter.e, pairs) * names / self.names
        at_once = self.meter.at_once(names, pairs)
        batches = passes * math.ceil(pairs / at_once)
        anew = batches * met(POOL * pairs, names * min(at_once, pairs))
        rows = self.kept * min(once, names * pairs) + (1 - self.kept) * anew
        return together(self.meter.captured(rows, rows, max(1.0, (1 - self.kept) * batches)), {"batches": batches})
