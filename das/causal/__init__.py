"""Causal: the account of a task, without a network: a DAG of variables with mechanisms, and inputs with domains."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "domains": "Range Choice Bool Uniform Sampler",
        "inputs": "Inputs",
        "model": "CausalModel",
        "node": "scalar",
    },
)
