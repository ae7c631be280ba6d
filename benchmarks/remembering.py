"""Remembering: an engine that runs nothing twice, so that finders can be timed on captures that are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from das.find.alignment import Alignment, Cell
from das.find.search import Search, align
from das.interchange.capture import Capture
from das.interchange.engine import Engine
from das.network.parts import tokens
from das.network.site import Spot
from das.task.rendered import Prompts


class Remembering:
    """An engine whose captures are kept and handed on.

    asked: processor seconds that all captures took that were asked for, those that were there already among them; ran: those
    that were not there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._kept = engine, dict[Any, tuple[Capture, float]]()
        self.asked = self.ran = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def capture(self, prompts: Prompts, spots: Collection[Spot], resumable: bool = True, first: int = 0) -> Capture:
        """See the engine's."""
        key = tokens(prompts).ids.tobytes(), prompts.lengths.tobytes(), tuple(spots), resumable, first
        if key not in self._kept:
            took, capture = processor(lambda: self._engine.capture(prompts, spots, resumable, first))
            self._kept[key] = capture, took
            self.ran += took
        capture, took = self._kept[key]
        self.asked += took
        return capture


def processor(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, and what it gives."""
    started = time.process_time()
    given = function()
    return time.process_time() - started, given


def found(cells: Sequence[Cell], search: Search) -> tuple[float, float, list[Alignment]]:
    """The alignments of cells, by a search whose engine remembers: the processor seconds that finding took on captures that are
    there, those of the captures, and the alignments."""
    engine: Any = search.engine
    asked, ran = engine.asked, engine.ran
    seconds, alignments = processor(lambda: align(cells, search))
    return seconds - (engine.ran - ran), engine.asked - asked, alignments
