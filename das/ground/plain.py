"""Plain data: numbers, texts, lists and mappings, as YAML and JSON hold them. Nothing that is read is imported or called."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from das.errors import DasError, one_line, shown


class _Loader(yaml.SafeLoader):
    """Safe; `1e-3` is a number, as in YAML 1.2, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"the key {repeated[0][1]!r} stands twice")
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def parse(text: str, what: str) -> Any:
    """The value that a text in YAML holds. what: whose text it is, for an error."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DasError(f"{what} is not valid YAML: {one_line(error)}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file's mapping."""
    if not os.path.isfile(path):
        raise DasError(f"no configuration at {path}")
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DasError(f"{path} cannot be read, so it is not valid YAML: {one_line(error)}") from error
    values = parse(text, str(path))
    if not isinstance(values, dict):
        raise DasError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    for key in values:
        if not isinstance(key, str):
            raise DasError(f"{path}: a setting is called {shown(key)}: expected a text")
    return values


def finite(value: Any) -> Any:
    """As every reader knows JSON: what is no finite number is null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
