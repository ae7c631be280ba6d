"""Network: a frozen network, how it is asked, and the names of its parts."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "lm": "LM",
        "net": "Net",
        "source": "load_tokenizer load_config shipped names",
        "site": "Site COMPONENTS",
        "named": "NAMED",
    },
)
