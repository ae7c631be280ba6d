"""Ground: what every wing needs and that explains nothing: arguments checked, YAML read, files that are there whole or not at
all."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "checks": "fitted whole number short_text",
        "plain": "read_yaml",
        "storage": "write write_json read_json read_table",
    },
)
