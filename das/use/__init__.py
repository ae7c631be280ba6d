"""Use: what a person does with a run: opens it, tables it, draws it, tests it under shifts."""

from das import handing_on

__getattr__, __all__ = handing_on(__name__, {"run": "Run", "pyvene": "pyvene_logits"})
