"""Transfer: whether what was found survives another way to put the question."""

from das import handing_on

__getattr__, __all__ = handing_on(__name__, {"robustness": "Robustness"})
