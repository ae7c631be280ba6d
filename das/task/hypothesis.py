"""Hypothesis: a causal model, and the variables of it that are to be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from das.causal.model import CausalModel
from das.errors import DasError, shown, unknown


class Hypothesis:
    """A causal model and the variable(s) of it that a subspace is to play.

    With several variables each gets its own interval of one basis, and its own source.
    """

    def __init__(self, model: CausalModel, *variables: str) -> None:
        if not isinstance(model, CausalModel):
            raise DasError(f"a hypothesis has the model {shown(model)}: expected a das.CausalModel, then variables of it")
        if not variables:
            raise DasError("a hypothesis names at least one variable to be aligned")
        for variable in variables:
            if not isinstance(variable, str) or variable not in model.variables:
                raise unknown("aligned variable", variable, model.variables)
            if variables.count(variable) > 1:
                raise DasError(f"{variable!r} is aligned twice: name each variable once")
        if model.output in variables:
            raise DasError(f"{model.output!r} is the output: align a variable that lies before it")
        self.model, self.variables = model, variables

    def __repr__(self) -> str:
        return f"Hypothesis({'+'.join(self.variables)} of {self.model.output})"


def remodelled(
    hypotheses: Mapping[str, Hypothesis], change: Callable[[CausalModel], CausalModel]
) -> dict[str, Hypothesis]:  # fmt: skip
    """The same of changed models. Each model is changed once, so that hypotheses of one model stay so: they are true together,
    and no rivals."""
    models = {id(h.model): h.model for h in hypotheses.values()}
    changed = {key: change(model) for key, model in models.items()}
    return {name: Hypothesis(changed[id(h.model)], *h.variables) for name, h in hypotheses.items()}
