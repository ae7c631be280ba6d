"""Circuits: by which states and ways what a network knows reaches its answer."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "tracing": "Traced traced",
        "noise": "Noised",
        "lens": "trajectory",
        "graph": "Graph",
        "attribution": "attributed",
        "cutting": "cut",
    },
)
