"""Flow: through which layers and tokens what edges carry passes.

Whatever one part hands to a later one lies in the hidden states between. By first order, the scores of all edges that pass a
layer's output sum to what swapping the whole of it would do, and by token to what swapping it there would (attribution
patching)."""

from __future__ import annotations

import pandas as pd

from das.circuits.attribution import Attributed
from das.circuits.graph import Edges, Graph


def flow(graph: Graph, found: Attributed, kept: Edges) -> pd.DataFrame:
    """A row for each layer's output and position: the share that is due to its tokens of what all edges carry past it, `share`,
    and of what those of a circuit do, `circuit`."""
    rows = []
    for layer in range(graph.layers):
        past = graph.all.copy()
        past[: graph.first_end(layer + 1)] = False
        past[:, graph.before(layer + 1) :] = False
        for position, scores in found.at.items():
            row = {"layer": layer, "position": position}
            for name, edges in (("share", past), ("circuit", past & kept)):
                whole = float(found.scores[edges].sum())
                row[name] = float(scores[edges].sum()) / whole if abs(whole) > 1e-9 else float("nan")
            rows.append(row)
    return pd.DataFrame(rows)
