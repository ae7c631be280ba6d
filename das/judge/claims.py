"""Claims: what circuits and edits assert, what was measured of it, and the verdict, in the form in which they stand beside
alignments. The rules are in `das.judge.claimed_circuit` and `das.judge.claimed_edit`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import hypot
from typing import Any, Self

from das.errors import DasError
from das.text import short, two

LEVELS = "decoding", "interchange", "ablation", "recovery"
"""Of evidence, see `das.judge.evidence`."""

NOT_ASKED = "not asked"

Shares = tuple["Share", ...]


@dataclass(frozen=True)
class Share:
    """A share, mostly of pairs or questions. of: what is counted, in a few words; low, high: its 95 % interval; start: what it
    would be had nothing been done. None: not known."""

    of: str
    share: float
    low: float | None = None
    high: float | None = None
    start: float | None = None

    def __str__(self) -> str:
        """
        >>> str(Share("faithfulness", 0.832, 0.741, 0.894, 0))
        'faithfulness .00 → .83 (.74–.89)'
        """
        before = "" if self.start is None else f"{short(self.start)} → "
        return f"{self.of} {before}{self._figures}"

    @property
    def bare(self) -> str:
        """Without where it starts from.

        >>> Share("faithfulness", 0.832, 0.741, 0.894, 0).bare
        'faithfulness .83 (.74–.89)'
        """
        return f"{self.of} {self._figures}"

    @property
    def _figures(self) -> str:
        return f"{short(self.share)}{self._between('–', short)}"

    @property
    def told(self) -> str:
        """For a sentence.

        >>> Share("faithfulness", 0.832, 0.741, 0.894, 0).told
        'faithfulness 0.83 (0.74 to 0.89)'
        """
        return f"{self.of} {two(self.share)}{self._between(' to ', two)}"

    def _between(self, dash: str, written: Any) -> str:
        return "" if self.low is None else f" ({written(self.low)}{dash}{written(self.high)})"

    @property
    def least(self) -> float:
        """What it can be relied on to be: the lower end, or of what has no interval itself."""
        return self.share if self.low is None else self.low

    def above(self, other: Share) -> float:
        """By how much it can be relied on to be more than another: the lower end of the difference's 95 % interval, had from
        those of both (Newcombe 1998, Statistics in Medicine 17, 873, method 10). It takes them for independent."""
        upwards = 0.0 if other.high is None else other.high - other.share
        return self.share - other.share - hypot(self.share - self.least, upwards)


@dataclass(frozen=True)
class Claim:
    """claim: what is claimed, in a few words; verdict: one of `das.judge.verdict.VERDICTS`, sentence: that in full; levels:
    level of evidence → its figures, those that were not asked left out; nulls: what stands beside it → its figures."""

    claim: str
    hypothesis: str
    verdict: str
    sentence: str
    levels: Mapping[str, Shares] = field(default_factory=dict)
    nulls: Mapping[str, Shares] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; a level that was not asked says so."""
        levels: dict[str, Any] = {level: list(map(asdict, self.levels.get(level, ()))) or NOT_ASKED for level in LEVELS}
        return asdict(self) | {"levels": levels, "nulls": {name: list(map(asdict, some)) for name, some in self.nulls.items()}}

    @classmethod
    def of_plain(cls, body: Any) -> Self:
        """DasError unless it is what `plain` gives."""
        try:
            asked = {level: some for level, some in body["levels"].items() if some != NOT_ASKED}
            words = {name: str(body[name]) for name in ("claim", "hypothesis", "verdict", "sentence")}
            return cls(**words, levels=_shares(asked), nulls=_shares(body["nulls"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DasError("expected a claim with its hypothesis, verdict, sentence, levels and nulls") from error


def _shares(named: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Shares]:
    return {str(name): tuple(map(_share, some)) for name, some in named.items()}


def _share(body: Mapping[str, Any]) -> Share:
    numbers = {name: None if body[name] is None else float(body[name]) for name in ("low", "high", "start")}
    return Share(str(body["of"]), float(body["share"]), **numbers)


def claimed(claim: str, hypothesis: str, rule: tuple[str, ...], known: Iterable[str], levels: Any, nulls: Any) -> Claim:
    """By a rule's verdict and reasons, and what else is known: sentences, empty ones left out."""
    verdict, *why = rule
    told = " ".join(f"{part[0].upper()}{part[1:]}." for part in [*why, *known] if part)
    asked = {level: tuple(some) for level, some in levels.items() if some}
    return Claim(claim, hypothesis, verdict, f"{hypothesis}, {claim}: {verdict}. {told}", asked, nulls)


def listed(words: Iterable[str], last: str = "and") -> str:
    """
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
