"""CausalModel: plain functions wired by their parameter names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, as_column, checked, codes, differ, objects, row_of, same_length, take
from das.causal.dicts import wired
from das.causal.inputs import Inputs
from das.causal.node import Mechanism, Node, in_order, node_of, rows_of
from das.errors import DasError, shown, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CausalModel:
    """A deterministic causal model: a DAG whose variables are functions and whose edges are their parameters.

    mechanisms: functions of columns; a function's name is its variable, its parameters are the parents. The last one is
        the output. Functions of single values are marked with `scalar`.
    inputs: the variables without a mechanism: `Inputs`, or a mapping from name to domain.

    A value may be a vector: a mechanism returns an array whose first axis is the rows.

    >>> from das import Bool
    >>> def both(left, right): return left & right
    >>> model = CausalModel(both, inputs={"left": Bool(), "right": Bool()})
    >>> model.interchange({"left": [True], "right": [False]}, {"right": {"left": [False], "right": [True]}})["both"]
    array([ True])
    """

    complete = True
    """Whether it answers every setting of its inputs and every swap (see `das.causal.listed`)."""

    def __init__(self, *mechanisms: Mechanism, inputs: Inputs | Mapping[str, Any]) -> None:
        nodes = [node_of(f) for f in mechanisms]
        self._build(nodes, inputs, nodes[-1].name if nodes else "")

    def _build(self, nodes: Sequence[Node], inputs: Inputs | Mapping[str, Any], output: str) -> None:
        self.inputs = inputs if isinstance(inputs, Inputs) else Inputs(inputs)
        names = self.inputs.names + [node.name for node in nodes]
        if not nodes:
            raise DasError("a causal model needs at least one mechanism: the last one is its output")
        if repeated := {name for name in names if names.count(name) > 1}:
            raise DasError(f"variable {sorted(repeated)[0]!r} is defined twice")
        for node in nodes:
            for parent in node.parents:
                if parent not in names:
                    raise unknown(f"parent of {node.name!r}", parent, names)
        self._nodes = in_order(nodes, self.inputs.names)
        self.output = output

    def over(self, inputs: Inputs) -> CausalModel:
        """The same mechanisms over other values of the same inputs."""
        if set(inputs.names) != set(self.inputs.names):
            raise DasError(f"the model's inputs are {', '.join(self.inputs.names)}; given {', '.join(inputs.names)}")
        model = copy(self)
        model.inputs = inputs
        return model

    def beside(self, inputs: Inputs) -> CausalModel:
        """The same mechanisms over inputs among which there are some that no mechanism takes."""
        if missing := set(self.inputs.names) - set(inputs.names):
            raise DasError(f"the model's inputs are {', '.join(self.inputs.names)}: {sorted(missing)[0]!r} is not given")
        if twice := {node.name for node in self._nodes} & set(inputs.names):
            raise DasError(f"{sorted(twice)[0]!r} is computed by the model: it cannot be an input as well")
        model = copy(self)
        model.inputs = inputs
        return model

    @property
    def variables(self) -> list[str]:
        """Inputs first, then every mechanism after its parents."""
        return self.inputs.names + [node.name for node in self._nodes]

    def parents(self, variable: str) -> tuple[str, ...]:
        """The variables that `variable` is computed from; none for an input."""
        self._known(variable)
        return next((node.parents for node in self._nodes if node.name == variable), ())

    def mechanism(self, variable: str) -> Mechanism:
        """The function that computes `variable`, which is no input."""
        return next(node.mechanism for node in self._nodes if node.name == variable)

    def causes(self, variable: str) -> set[str]:
        """The variables that `variable` follows from: its parents, theirs, and so on."""
        found = {variable}
        for name in reversed(self.variables):  # children before their parents
            found |= set(self.parents(name)) if name in found else set()
        return found - {variable}

    def _known(self, variable: str) -> None:
        if variable not in self.variables:
            raise unknown("variable", variable, self.variables)

    def __repr__(self) -> str:
        lines = [f"  {node.name}({', '.join(node.parents)})" for node in self._nodes]
        return "\n".join([f"CausalModel with inputs {', '.join(self.inputs.names)}", *lines, f"  output: {self.output}"])

    def run(self, inputs: Mapping[str, Any]) -> Columns:
        """Every variable's column for the given input columns. DasError on values outside their domain."""
        return self._evaluate(self.inputs.validate(inputs), {})

    def intervene(self, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> Columns:
        """`run`, with the variables in `values` fixed to the given columns instead of computed."""
        table = self.inputs.validate(inputs)
        fixed = {name: as_column(column, f"the intervention on {shown(name)}") for name, column in values.items()}
        for name, column in fixed.items():
            self._known(name)
            checked(column, same_length(table), f"the intervention on {name!r}")
        return self._evaluate(table, fixed)

    def interchange(self, base: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> Columns:
        """Interchange intervention: run `base` with each variable fixed to what it is on that variable's own source.

        base: input columns; sources: aligned variable → input columns of its source, row by row.
        Returns every variable's column; the counterfactual answer is `[model.output]`.
        """
        values = {}
        for variable, source in sources.items():
            self._known(variable)
            values[variable] = self.run(source)[variable]
        return self.intervene(base, values)

    def moves(self, base: Columns, answers: Column, variable: str, values: Column) -> NDArray[np.bool_]:
        """The rows of `base`, input columns with these answers, on which fixing one variable to another value changes the
        output. Where an input's other value breaks a constraint between the inputs, nothing is asked of the mechanisms, and
        nothing moves."""
        rows = np.arange(len(values))
        if variable in self.inputs.names:
            rows = np.flatnonzero(self.inputs.allowed(base | {variable: values}))
        moved = np.zeros(len(values), bool)
        if len(rows):
            fixed = self.intervene(take(base, rows), {variable: values[rows]})
            moved[rows] = differ(answers[rows], fixed[self.output])
        return moved

    def _evaluate(self, table: Columns, fixed: Mapping[str, Column]) -> Columns:
        n = same_length(table)
        columns = {name: fixed.get(name, column) for name, column in table.items()}
        for node in self._nodes:
            columns[node.name] = fixed[node.name] if node.name in fixed else node.value(columns, n)
        return columns

    def sample(self, rng: np.random.Generator, n: int) -> Columns:
        """`n` settings of the inputs."""
        return self.inputs.sample(rng, n)

    @property
    def size(self) -> int | None:
        """How many input settings there are; None where an input is continuous or custom."""
        return self.inputs.size

    def enumerate(self) -> Columns:
        """Every setting of the inputs, once."""
        return self.inputs.enumerate()

    def equivalent(self, other: CausalModel, rng: np.random.Generator | None = None, n: int = 10_000) -> bool:
        """Whether both give the same output: on every setting where there are at most `n`, else on `n` drawn ones."""
        return self.difference(other, rng, n) is None

    def difference(self, other: CausalModel, rng: np.random.Generator | None = None, n: int = 10_000) -> dict[str, Any] | None:
        """An input setting on which the outputs differ, or None (see `equivalent`)."""
        if set(self.inputs.names) != set(other.inputs.names):
            raise DasError(f"the models have different inputs: {self.inputs.names} and {other.inputs.names}")
        small = self.size is not None and self.size <= n
        table = self.enumerate() if small else self.sample(rng or np.random.default_rng(0), n)
        mine, theirs = self.run(table)[self.output], other.run(table)[other.output]
        both = codes(objects([*rows_of(mine), *rows_of(theirs)]))
        wrong = np.flatnonzero(both[: len(mine)] != both[len(mine) :])
        return row_of(table, int(wrong[0])) if len(wrong) else None

    def draw(self, ax: Axes | None = None) -> Axes:
        """The DAG as a picture: inputs at the bottom, the output at the top."""
        from das.draw.dag import dag

        return dag({name: self.parents(name) for name in self.variables}, self.output, ax)

    def _repr_html_(self) -> str:
        from das.draw.dag import svg

        return svg({name: self.parents(name) for name in self.variables}, self.output)

    @classmethod
    def from_dicts(
        cls,
        variables: Sequence[str],
        values: Mapping[str, Any],
        parents: Mapping[str, Sequence[str]],
        functions: Mapping[str, Mechanism],
        output: str | Sequence[str] | None = None,
    ) -> CausalModel:
        """A model in the four-dict form of pyvene and MIB, whose functions take one value per parent.

        Variables without parents are inputs: their domain is `values[v]`, or draws of `functions[v]()` where that is None or
        empty (the same ones for the same generator, see `das.causal.seeding`).
        output: by default `raw_output` if there is one, else the only variable that is nobody's parent. Several names make one
            output, the tuple of their values, which is called by these names joined with `+`.
        """
        nodes, domains, named = wired(variables, values, parents, functions, output)
        model = cls.__new__(cls)
        model._build(nodes, domains, named)
        return model
