"""Tensors: how values are put to a network that reads no words, and how it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.causal.columns import Column, key, same_length
from das.causal.predicates import parameters
from das.errors import DasError, called, shown, unknown
from das.ground.checks import number, whole
from das.task.answers import Answers, Real
from das.task.fed import SOLE, Fed, Span
from das.task.form import Form
from das.task.positions import FIELD
from das.task.rendered import Indices, Rendered
from das.task.tokenizer import Tokenizer

MOST = 10**6
"""Of places, and of classes."""

GIVEN = "tensors: an array whose first axis is the rows, or a mapping from the network's arguments to such arrays"


class Tensors(Form):
    """How a setting of the inputs becomes tensors, and how the network answers.

    render: a function of variables of the causal model, by parameter name, each a column of a batch; it gives the network's one
        argument, or a mapping from the names of its arguments: arrays or tensors whose first axis is the rows. Floats take the
        network's dtype.
    answers: output value → the class that stands for it, from 0 on, or a function from one to the other; by default the values
        are classes themselves. With a tolerance: → the number, or the list of numbers, that the network is to give.
    tolerance: for networks that give numbers: an answer is right where each of them is no further off than this.
    places: how many places an input has: steps of a recurrent network, patches of an image, members of a set. None: it has
        none, and whatever a module makes of it is swapped as one vector.
    positions: name → where it lies: a place (from 0), several, or a function of variables that gives each row's. `first` and
        `last`, and offsets such as `first+2`, need no name.
    """

    def __init__(
        self, render: Callable[..., Any], answers: Mapping[Any, int] | Callable[[Any], int] | None = None,
        places: int | None = None, positions: Mapping[str, Span | Callable[..., Any]] | None = None,
        tolerance: float | None = None,
    ) -> None:  # fmt: skip
        if not callable(render):
            raise DasError(f"render is {shown(render)}: expected a function of the task's variables that gives tensors")
        if answers is not None and not callable(answers) and not isinstance(answers, Mapping):
            raise DasError(f"answers are {shown(answers)}: expected a mapping from output value to class, or a function")
        self.function, self.answers, self.positions = render, answers, {} if positions is None else positions
        self.places = None if places is None else whole("places", places, 1, MOST)
        self.tolerance = None if tolerance is None else number("tolerance of das.Tensors", tolerance, 0)
        self._check_positions()

    def _check_positions(self) -> None:
        if not isinstance(self.positions, Mapping):
            raise DasError(f"positions of das.Tensors are {shown(self.positions)}: expected a mapping from names to places")
        if self.positions and self.places is None:
            raise DasError("positions of das.Tensors name places: say with places= how many an input has")
        for name, at in self.positions.items():
            if not isinstance(name, str) or not FIELD.fullmatch(name) or name in ("first", "last") or name[:1].isdecimal():
                raise DasError(f"a position cannot be called {shown(name)}: expected a name like those of variables")
            for place in () if callable(at) else at if isinstance(at, list | tuple | range) else [at]:
                whole(f"a place of {name!r}", place, 0, (self.places or 1) - 1)

    @property
    def fields(self) -> list[str]:
        own = [parameters(f, "render") for f in (self.function, *self.positions.values()) if callable(f)]
        return list(dict.fromkeys(name for names in own for name in names))

    @property
    def written(self) -> str:
        return f"{getattr(self.function, '__name__', 'render')}({', '.join(self.fields)})"

    def parts(self) -> dict[str, list[Any]]:
        said = self.answers if callable(self.answers) else sorted((repr(k), c) for k, c in (self.answers or {}).items())
        spans = [[name, at] for name, at in self.positions.items() if not callable(at)]
        placed = [at for at in self.positions.values() if callable(at)]
        near = [] if self.tolerance is None else [self.tolerance]
        return {"function that renders": [self.function, self.places, spans, *placed], "answers' classes": [said, *near]}

    # --- what the network is given ---

    def render(self, columns: Mapping[str, Column]) -> Fed:
        for name in self.fields:
            if name not in columns:
                raise unknown("variable that render takes", name, columns)
        n = same_length(columns)
        taken = [columns[name] for name in parameters(self.function, "render")]
        given = called("render", GIVEN, self.function, *taken, on=f" on {n} rows")
        named = dict(given) if isinstance(given, Mapping) else {SOLE: given}
        if not named or not all(isinstance(name, str) for name in named):
            raise DasError(f"render gave {shown(given)}: expected {GIVEN}")
        return Fed({name: _tensor(name, value, n) for name, value in named.items()}, self.places, self._spans(columns, n))

    def _spans(self, columns: Mapping[str, Column], n: int) -> dict[str, Indices]:
        """Name → (rows, places)."""
        return {name: self._span(name, at, columns, n) for name, at in self.positions.items()}

    def _span(self, name: str, at: Any, columns: Mapping[str, Column], n: int) -> Indices:
        if not callable(at):
            return np.broadcast_to(np.atleast_1d(np.asarray(at, np.int64)), (n, np.size(at)))
        taken = (columns[each] for each in parameters(at, f"position {name!r}"))
        found = np.asarray(called(f"position {name!r}", "each row's place", at, *taken))
        if found.dtype.kind not in "iu" or len(found) != n or found.ndim not in (1, 2):
            raise DasError(f"position {name!r} gave {shown(found)}: expected whole numbers, one for each of {n} rows")
        last = (self.places or 1) - 1
        if (found < 0).any() or (found > last).any():
            raise DasError(f"position {name!r} gave {found.min()} to {found.max()}: expected places 0 to {last}")
        return found.reshape(n, -1).astype(np.int64)

    # --- how it answers ---

    def _said(self, value: Any) -> Any:
        """What stands for an output value: a class, or with a tolerance numbers."""
        if callable(self.answers):
            return called("the answer function", "what stands for the value", self.answers, value, on=f" on {shown(value)}")
        if self.answers is None:
            return value
        known = {key(each): said for each, said in self.answers.items()}
        if key(value) not in known:
            what = "class" if self.tolerance is None else "number"
            raise unknown(f"answer: the output value has no {what},", value, self.answers)
        return known[key(value)]

    def _class(self, value: Any) -> int:
        said = self._said(value)
        number = said.item() if hasattr(said, "item") and not getattr(said, "ndim", 0) else said
        if isinstance(number, float) or not isinstance(number, int) or not 0 <= number <= MOST:
            raise DasError(
                f"the answer to {shown(value)} is {shown(said)}: expected a class, a whole number from 0 on; "
                "give das.Tensors answers={value: class}, or tolerance= if the network gives numbers"
            )
        return int(number)

    def _numbers(self, outputs: Column) -> NDArray[np.float64]:
        """The numbers that answer each row, (rows, size)."""
        fit = "a number, or a list of numbers"
        said = [called(f"the answer to {shown(v)}", fit, np.ravel, self._said(v)) for v in outputs.tolist()]
        for value, each in zip(outputs.tolist(), said, strict=True):
            if each.dtype.kind not in "biuf" or not np.isfinite(each).all() or not each.size or len(each) != len(said[0]):
                raise DasError(
                    f"the answer to {shown(value)} is {shown(each.tolist())}: with a tolerance, each answer is {fit}, as many "
                    "for each"
                )
        return np.array(said, np.float64)

    def answer_texts(self, outputs: Column) -> list[str]:
        if self.tolerance is None:
            return [str(number) for number in self._classes(outputs)]
        return [", ".join(f"{number:.6g}" for number in row) for row in self._numbers(outputs)]

    def _classes(self, outputs: Column) -> list[int]:
        known: dict[Any, int] = {}
        return [known[k] if (k := key(v)) in known else known.setdefault(k, self._class(v)) for v in outputs.tolist()]

    def read(self, rendered: Rendered, outputs: Column, tokenizer: Tokenizer) -> Any:
        said = self._classes(outputs) if self.tolerance is None else self._numbers(outputs).tolist()
        return rendered.identities(tokenizer).tolist(), said

    def answer_tokens(self, outputs: Column, one: Rendered, tokenizer: Tokenizer) -> Indices:
        return np.array(self._classes(outputs), np.int64)

    def spelled(
        self, outputs: Column, one: Rendered, tokenizer: Tokenizer, known: Callable[[], Column]
    ) -> tuple[Answers, Indices]:
        if self.tolerance is None:
            return super().spelled(outputs, one, tokenizer, known)
        values, which = np.unique(self._numbers(outputs), axis=0, return_inverse=True)
        return Real(values, self.tolerance), which.reshape(-1).astype(np.int64)

    def check_answers(self, outputs: Column, one: Rendered, tokenizer: Tokenizer) -> None:
        self.answer_texts(outputs)


def _tensor(name: str, value: Any, n: int) -> Tensor:
    """What render gave, on the CPU. DasError for what is no tensor, has other rows or holds what is no number."""
    what = f"render's {name!r}" if name != SOLE else "render"
    if isinstance(value, np.ndarray | list | tuple):
        value = called(what, "an array of numbers", lambda: torch.as_tensor(np.ascontiguousarray(value)))
    if not isinstance(value, Tensor):
        raise DasError(f"{what} gave {shown(value)}: expected an array or a tensor whose first axis is the rows")
    tensor: Tensor = value.detach().cpu()
    if tensor.dim() == 0 or len(tensor) != n:
        raise DasError(f"{what} gave a tensor of shape {tuple(tensor.shape)} for {n} rows: expected {n} on the first axis")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        row = int(tensor.isfinite().reshape(n, -1).all(1).int().argmin())
        raise DasError(f"{what} gave numbers that are not finite (NaN or infinite), first in row {row}")
    return tensor
