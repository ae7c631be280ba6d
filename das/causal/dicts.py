"""Four dicts: causal models as pyvene and MIB write them, with functions that take one value per parent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from das.causal.columns import objects
from das.causal.domains import Choice, Sampler
from das.causal.node import Mechanism, Node
from das.errors import DasError, called, shown, unknown


def wired(
    variables: Sequence[str],
    values: Mapping[str, Any],
    parents: Mapping[str, Sequence[str]],
    functions: Mapping[str, Mechanism],
    output: str | Sequence[str] | None,
) -> tuple[list[Node], dict[str, Choice | Sampler], str]:
    """A model's nodes, the domains of its inputs, and its output; see `CausalModel.from_dicts`."""
    _check(variables, values, parents, functions)
    roots = [v for v in variables if not parents.get(v)]
    domains = {v: _domain(v, values.get(v), functions.get(v)) for v in roots}
    if missing := [v for v in variables if v not in roots and v not in functions]:
        raise DasError(f"variable {missing[0]!r} has parents but no function")
    nodes = [Node(v, tuple(parents[v]), functions[v], True) for v in variables if v not in roots]
    wanted = _outputs(nodes, variables, output)
    if len(wanted) > 1:
        nodes.append(Node("+".join(wanted), tuple(wanted), lambda *values: values, True))
    return nodes, domains, "+".join(wanted)


def _check(variables: Any, values: Any, parents: Any, functions: Any) -> None:
    if isinstance(variables, str) or not isinstance(parents, Mapping):
        raise DasError("from_dicts: expected a list of variables, and a mapping from each to its parents")
    for name in [*parents, *(p for ps in parents.values() for p in ps)]:
        if name not in variables:
            raise unknown("variable", name, variables)
    for what, given in (("values", values), ("parents", parents), ("functions", functions)):
        if not isinstance(given, Mapping):
            raise DasError(f"{what} is {shown(given)}: expected a mapping from variables")


def _outputs(nodes: Sequence[Node], variables: Sequence[str], output: str | Sequence[str] | None) -> list[str]:
    """The names that make the output."""
    used = {p for node in nodes for p in node.parents}
    sinks = [node.name for node in nodes if node.name not in used]
    if output is None:
        output = "raw_output" if "raw_output" in variables else sinks[0] if len(sinks) == 1 else []
    wanted = [output] if isinstance(output, str) else list(output)
    if not wanted or not set(wanted) <= set(variables):
        raise DasError(f"which variable is the output? Give output=, one of: {', '.join(sinks)}; or a list")
    return wanted


def _domain(name: str, values: Any, function: Mechanism | None) -> Choice | Sampler:
    if values is not None and (not isinstance(values, Iterable) or isinstance(values, str)):
        raise DasError(f"the values of input {name!r} are {shown(values)}: expected several, or None to draw by its function")
    options = values if isinstance(values, set | frozenset) or values is None else list(values)
    if options:
        return Choice(options)
    if function is None:
        raise DasError(f"input {name!r} has neither values nor a function: its values are {shown(values)}")
    return Sampler(lambda rng, n: objects([called(f"the function of input {name!r}", "a value", function) for _ in range(n)]))
