"""Commands: what `das` can do, one module each, which is named as the command and holds a function of that name."""

from das import handing_on

__getattr__, __all__ = handing_on(__name__, {"registry": "COMMANDS Command"})
