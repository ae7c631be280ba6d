"""Swapper: an alignment and a network, ready to be used on prompts of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.causal.columns import Columns
from das.errors import DasError, shown, unknown
from das.find.alignment import Alignment
from das.interchange.applied import AT_ONCE, swapped
from das.interchange.batch import values_at
from das.interchange.calls import Where, frame_of
from das.interchange.engine import HookEngine
from das.interchange.holding import holding_all
from das.interchange.score import score
from das.interchange.selftest import tried
from das.network.columns import sizes
from das.network.limits import check_limits
from das.network.lm import LM
from das.network.net import Net
from das.network.site import Place
from das.pairs.dataset import Dataset, Rows
from das.task.answers import Real
from das.task.encoded import Encoded
from das.task.hypothesis import Hypothesis
from das.task.positions import Position
from das.task.rendered import Prompts
from das.task.task import Task
from das.task.tensors import Tensors
from das.use.applied import AFTER, BEFORE, Applied, Expected
from das.use.asked import Asked, asked, placed
from das.use.calling import of_base, pointed
from das.use.generated import Generated, continued
from das.use.likeliest import Likeliest, token_text
from das.use.numbers import Numbers
from das.use.own_pairs import At, OwnPairs, Places, Pointed, by_position, sources_of

SPAN = 65
"""An alignment of a place of several tokens is held against fewer than so many."""


@dataclass(frozen=True)
class Swapper:
    """task: with it, prompts may be given as values of its inputs, and the causal model says what is expected."""

    alignment: Alignment
    lm: LM
    task: Task | None = None

    def __post_init__(self) -> None:
        cell, depth = self.alignment.cell, self.lm.layers
        if outside := [layer for _, layer in cell.site.spots if not 0 <= layer < depth]:
            raise DasError(f"{cell.id} lies at layer {outside[0]}, and {self.lm.name} has layers 0 to {depth - 1}")
        if len(self.variables) != (count := self.alignment.feature.variables):
            raise DasError(f"{cell.id} swaps {count} variables, and the task's hypothesis aligns {', '.join(self.variables)}")

    @property
    def _hypothesis(self) -> Hypothesis | None:
        return self.task.hypothesis(self.alignment.cell.hypothesis) if self.task else None

    @cached_property
    def variables(self) -> list[str]:
        """The aligned variables; numbers from 1 where no task names them."""
        known = self._hypothesis
        return list(known.variables) if known else [str(i + 1) for i in range(self.alignment.feature.variables)]

    @property
    def what(self) -> str:
        """The alignment, in a line."""
        cell = self.alignment.cell
        return f"{cell.hypothesis}{'.' + '+'.join(self.variables) if self.task else ''} at {cell.site}"

    # --- what can be done with it ---

    def apply(self, base: Any, source: Any = None, *, sources: Any = None, **places: At) -> Applied:
        """See `das.use.apply.apply`."""
        pairs = self._pairs(base, source, sources, Places.given(places))
        engine = self._engine(pairs.data.prompts)
        logits = {name: self._clean(pairs.tokens(name)) for name in pairs.prompts}
        logits[AFTER] = swapped(engine, pairs.data, self.alignment.cell.site, self.alignment.feature)
        for name, each in logits.items():
            if not bool(each.isfinite().all()):
                raise DasError(f"{self.lm.name} gives logits that are not finite ({name}): its weights overflow in this dtype")
        found: dict[str, Any] = {
            "what": self.what, "logits": logits, "prompts": {name: each.names for name, each in pairs.prompts.items()},
            "places": {name: self._marks(pairs.tokens(name), self._side(name)) for name in pairs.prompts},
            "expected": self._expected(pairs, engine, logits[AFTER]),
        }  # fmt: skip
        near = self.task.prompt.tolerance if self.task and isinstance(self.task.prompt, Tensors) else None
        return Likeliest(**found, tokenizer=self.lm.tokenizer) if near is None else Numbers(**found, tolerance=near)

    def generate(
        self, base: Any, source: Any = None, *, sources: Any = None, tokens: int = 20, options: Mapping[str, Any] | None = None,
        **places: At,
    ) -> Generated:  # fmt: skip
        """See `das.use.apply.generate`."""
        pairs = self._pairs(base, source, sources, Places.given(places))
        self._engine(pairs.data.prompts)
        own, bases = self._vectors(pairs.data), pairs.tokens(BEFORE)

        def under(rows: Rows) -> AbstractContextManager[None]:
            return self._holding([each[:, rows] for each in own], self._wheres(bases.take(rows), None))

        said = {name: continued(self.lm, pairs.tokens(name), tokens, options or {}) for name in pairs.prompts}
        said[AFTER] = continued(self.lm, bases, tokens, options or {}, under)
        return Generated(self.what, self.lm.tokenizer, {n: each.rendered.names for n, each in pairs.prompts.items()}, said)

    @contextmanager
    def swapped(self, source: Any = None, *, base: Any = None, sources: Any = None, **places: At) -> Iterator[Any]:
        """See `das.use.apply.swapped`."""
        at = Places.given(places)
        if isinstance(self.lm, Net):
            raise DasError(
                f"{self.lm.name} takes tensors: a swap is held in calls with token ids; apply takes values of its task"
            )
        first = None if base is None else asked(base, self.task, "base")
        own, taken = self._sources(source, sources, first.values if first else None)
        if kept := [name for name, origin in taken.items() if origin is None]:
            raise DasError(f"{kept[0]} has no source: in calls of your own every variable is swapped, so give it one")
        any_source = next(iter(own.values()))
        pairs = OwnPairs.make(any_source, own, taken, lambda name, each: self._placed(each, at, "source"))
        self._engine(pairs.data.prompts)
        wheres = self._wheres(self._placed(first, at, BEFORE) if first else None, at.of(BEFORE))
        with self._holding(self._vectors(pairs.data), wheres):
            yield self.lm.model

    # --- prompts and places ---

    def _pairs(self, base: Any, source: Any, sources: Any, places: Places) -> OwnPairs:
        first, site = asked(base, self.task, "base"), self.alignment.cell.site
        own, taken = self._sources(source, sources, first.values)
        if None in taken.values() and site.places != site.sources:
            raise DasError(f"at {site} a base takes another place's vector: give every variable a source")
        pairs = OwnPairs.make(first, own, taken, lambda name, each: self._placed(each, places, name))
        sizes(self.lm, pairs.tokens(BEFORE), site)  # what cannot be swapped is reported there
        return pairs

    def _sources(self, source: Any, sources: Any, like: Columns | None) -> tuple[dict[str, Asked], dict[str, str | None]]:
        return sources_of(source, sources, self.variables, lambda given, name: asked(given, self.task, name, like))

    def _placed(self, prompts: Asked, at: Places, name: str) -> Prompts:
        """The prompts of a name as tokens, with the positions that the site has on their side."""
        parts = [
            placed(prompts, self.lm.tokenizer, position, pointer, self.task)
            for position, pointer in self._pointers(at.of(name), self._side(name)).items()
        ]
        found = parts[0]
        for part in parts[1:]:
            found.positions.update(part.positions)
        if not isinstance(self.lm, Net):
            check_limits(getattr(self.lm.model, "config", None), found, np.zeros(0, np.int64), self.lm.tokenizer)
        self._check_fits(found, self._side(name))
        return found

    def _side(self, name: str) -> Sequence[Place]:
        """The places of a base, or of a source."""
        site = self.alignment.cell.site
        return site.places if name == BEFORE else site.sources

    def _pointers(self, given: At, places: Sequence[Place]) -> dict[str, Pointed]:
        """Position → where it was said to be; of what lies in a decoder beside an encoder, whose tokens are the answer's, the
        prompt's end."""
        found, known = by_position(given, places), self.alignment.cell.site.positions
        if isinstance(given, Mapping) and (other := [name for name in given if name not in known]):
            raise unknown("position of the alignment", other[0], known)
        begins = [name for name in found if all(self._in_answer(p) for p in places if p.position == name)]
        for name in begins:
            _check_begins(found[name])
        return found | dict.fromkeys(begins, "last")

    def _in_answer(self, place: Place) -> bool:
        return not isinstance(self.lm, Net) and frame_of(self.lm, self.lm.tap(*place.spot).module)[1]

    def _check_fits(self, prompts: Prompts, places: Sequence[Place]) -> None:
        """DasError where the alignment is not of the vectors that the network has at the places."""
        cell, feature, one = self.alignment.cell, self.alignment.feature, prompts.take([0])
        widths = [self.lm.size(*place.spot, one) for place in places]
        counts = [prompts.positions[place.position].shape[1] for place in places]
        spans = {place.position for place in places if Position.parse(place.position).end is None}
        single = all(n == 1 for place, n in zip(places, counts, strict=True) if place.position not in spans)
        if single and feature.fits(sum(size * n for size, n in zip(widths, counts, strict=True))):
            return
        most = SPAN if spans else 2
        if len(places) == 1 and (fitting := [n for n in range(1, most) if feature.fits(widths[0] * n)]):
            raise DasError(
                f"the place covers {counts[0]} tokens ({self._marks(prompts, places)[0]!r}), and the alignment swaps "
                f"{fitting[0]}: point at as many, such as Substring(…, token='last'), or by a token's number"
            )
        if len(places) > 1 and max(counts) > 1:
            raise DasError(f"the places cover {counts} tokens, and {cell.id} swaps others at {cell.site}: point at as many")
        raise DasError(f"{cell.id} is not of vectors of {sum(widths)} entries, which {self.lm.name} has at {cell.site}")

    def _wheres(self, base: Prompts | None, given: At) -> dict[str, Where]:
        """Position → where the swap is made in calls: at the base's places, or where the pointers lead."""
        places = self._side(BEFORE)
        found = self._pointers(given, places)
        return {place.position: self._where(place, base, found[place.position]) for place in places}

    def _where(self, place: Place, base: Prompts | None, pointer: Pointed) -> Where:
        position = place.position
        if self._in_answer(place):
            return lambda prompts: np.zeros((max(1, len(prompts)), 1), np.int64)
        if base is not None:
            return of_base(base, position)
        if pointer is None and Position.parse(position).name:
            raise DasError(
                f"the alignment lies at {position}, a place in the task's prompt: say where that is in calls of your own, "
                "position (--position on a command line): the number of a token, or a piece of the text; or give base="
            )
        return pointed(self.lm.tokenizer, position if pointer is None else pointer)

    # --- the network ---

    def _engine(self, prompts: Prompts) -> HookEngine:
        return tried(self.lm, self.alignment.cell.site.spots, prompts)

    @torch.no_grad()
    def _clean(self, prompts: Prompts) -> Tensor:
        parts = np.array_split(np.arange(len(prompts)), -(-len(prompts) // AT_ONCE))
        return torch.cat([self.lm.logits(prompts.take(rows)).cpu() for rows in parts])

    def _vectors(self, data: Dataset) -> list[Tensor]:
        """What the sources of every variable have, for each place (variables, rows, n·size)."""
        rows, places = data.pairs[""].sources, self.alignment.cell.site.sources
        prompts, spots = data.prompts.take(rows.ravel()), list(dict.fromkeys(place.spot for place in places))
        parts = []
        for some in np.array_split(np.arange(len(prompts)), -(-len(prompts) // AT_ONCE)):
            capture = HookEngine(self.lm).capture(prompts.take(some), spots)
            parts.append(values_at(capture, places, prompts.positions, some))
        return [torch.cat(each).float().unflatten(0, rows.shape) for each in zip(*parts, strict=True)]

    def _holding(self, sources: Sequence[Tensor], wheres: Mapping[str, Where]) -> AbstractContextManager[None]:
        return holding_all(self.lm, self.alignment.cell.site, self.alignment.feature, sources, wheres)

    def _marks(self, prompts: Prompts, places: Sequence[Place]) -> list[str]:
        """The tokens at the places of each prompt."""
        positions = dict.fromkeys(place.position for place in places)
        if not isinstance(prompts, Encoded):
            return [" + ".join(positions)] * len(prompts)
        ids = [np.take_along_axis(prompts.ids, prompts.positions[position], 1).tolist() for position in positions]
        texts = [["".join(token_text(self.lm.tokenizer, token) for token in row) for row in each] for each in ids]
        return [" + ".join(row) for row in zip(*texts, strict=True)]

    def _expected(self, pairs: OwnPairs, engine: HookEngine, logits: Tensor) -> Expected | None:
        """What the causal model says comes out, where all prompts were given as values. logits: of the swap."""
        known, values = self._hypothesis, {name: each.values for name, each in pairs.prompts.items()}
        if known is None or self.task is None or any(each is None for each in values.values()):
            return None
        base: Any = values[BEFORE]
        sources: Any = {variable: values[name] for variable, name in pairs.taken.items() if name}
        outputs = known.model.interchange(base, sources)[known.model.output]
        answers, numbers = self.task.spelled(outputs, base, self.lm.tokenizer)
        if answers.beginnings(numbers).size:
            data = pairs.labelled(answers, numbers)
            wanted = {"": ("", self.alignment.cell.site, [self.alignment.feature])}
            given = score(engine, data, wanted, AT_ONCE)[""][0]
        else:
            given = answers.right(answers.said(logits).numpy(), numbers)
        real = answers.values[numbers] if isinstance(answers, Real) else None
        return Expected(self.task.prompt.answer_texts(outputs), given, real)


def _check_begins(pointer: At) -> None:
    """DasError for a place in a decoder that is not the one where an alignment can be found."""
    if pointer not in (None, 0):
        raise DasError(f"the place is {shown(pointer)}: in a decoder it is the token that the answer begins with, 0")
