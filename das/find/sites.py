"""Sites in tables: the columns `layer`, `component` and `position` of a row say its site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from das.network.site import Site, joined_components, joined_layers, layer_of

SITE = ["layer", "component", "position"]


def sites_of(table: pd.DataFrame) -> list[Site]:
    """The site of each row."""
    columns = (table[name].tolist() for name in ("layer", "position", "component"))
    return [Site(*place) for place in zip(*columns, strict=True)]


def site_of(row: Mapping[str, Any]) -> Site:
    """The site of one row."""
    return Site(row["layer"], row["position"], row["component"])


def as_kept(table: pd.DataFrame) -> pd.DataFrame:
    """A table as a file holds it: a column has one type, so that where a site has several layers, all layers are texts."""
    return table if is_numeric_dtype(table["layer"]) else table.assign(layer=table["layer"].astype(str))


def as_read(table: pd.DataFrame) -> pd.DataFrame:
    """Such a table with its layers as sites have them, numbers or texts."""
    return table if is_numeric_dtype(table["layer"]) else table.assign(layer=table["layer"].astype(object).map(layer_of))


def row_order(row: Any) -> Any:
    """Of rows (layer, component) of a map: single layers and components first, then joined ones; each by number."""
    layers, components = joined_layers(row[0]), joined_components(row[1])
    return max(len(layers), len(components)), layers, row[1]
