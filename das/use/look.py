"""Look: how the inside of an alignment is found (see `das.use.inside`): from its columns, its network and natural prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from das.errors import DasError
from das.find.alignment import Alignment
from das.interchange.engine import HookEngine
from das.interchange.subspace import Subspace
from das.interchange.units import Units, subspace_of
from das.interchange.vectors import vectors
from das.network.lm import LM
from das.network.site import Site
from das.network.unembedding import unembedding, written
from das.pairs.dataset import Dataset
from das.run.folder import Folder
from das.task.rendered import Prompts
from das.task.task import Task
from das.use.angles import overlaps, space
from das.use.cells import companions
from das.use.inside import Inside
from das.use.tracing import entry_names, trace

COLUMNS = 4
"""Columns of each variable whose projections and tokens are looked at."""

PROMPTS, TOKENS = 500, 10
"""Prompts that are drawn; tokens at either end of a column."""

COORDINATES = [f"c{i + 1}" for i in range(COLUMNS)]

PARTS, GROUPS, FEW = 4, 10, 10
"""Of a vector, that are looked at each by itself; of numbers with many values; prompts to a group, below which nothing is said
of the variance between groups."""

SEVERAL = "not asked: {} is a site of several places, or of another place of the source"
NO_DIRECTIONS = "not asked: what is swapped ({}) is no subspace with columns, so it has no directions to follow"


def look(run: Folder, alignment: Alignment, lm: LM, task: Task, prompts: int = PROMPTS) -> Inside:
    """What an alignment of a run is made of, beside the run's cells that it is compared with."""
    beside = [run.alignment(other) for other in companions(run, alignment.cell.id)]
    alike = [alignment, *(other for other in beside if space(other) == space(alignment))]
    angles = overlaps(alike) if space(alignment) else pd.DataFrame()
    return look_inside(alignment, lm, task, prompts, angles)


def look_inside(alignment: Alignment, lm: LM, task: Task, prompts: int = PROMPTS, angles: pd.DataFrame | None = None) -> Inside:
    """What an alignment of a hypothesis of the task is made of in its network, by so many natural prompts. angles: to others
    (see `das.use.angles`)."""
    cell, feature = alignment.cell, alignment.feature
    hypothesis, made = task.hypothesis(cell.hypothesis), dict[str, Any](notes={})
    inputs = hypothesis.model.sample(np.random.default_rng(11), prompts)
    encoded = task.encode(inputs, lm.tokenizer, [cell.site.position])
    for spot in cell.site.spots:
        lm.size(*spot, encoded.take([0]))  # known from now on, whatever the network takes
    if feature.size:
        values = hypothesis.model.run(inputs)
        made["projections"] = _projections(alignment, lm, encoded, {v: values[v] for v in hypothesis.variables})
        made["explained"] = _explained(made["projections"])
    if (subspace := subspace_of(feature)) is None:
        made["notes"]["trace"] = NO_DIRECTIONS.format(type(feature).__name__.lower())
    elif not cell.site.single:
        made["notes"] |= dict.fromkeys(["trace", "tokens"], SEVERAL.format(cell.site))
    else:
        made["trace"] = trace(lm, cell.site, subspace, hypothesis.variables)
        if isinstance(feature, Units):
            made["notes"]["columns"] = _called(lm, cell.site, feature, hypothesis.variables)
        made["tokens"], made["notes"]["tokens"] = _tokens(lm, alignment, subspace, hypothesis.variables, encoded)
    return Inside(alignment, hypothesis.variables, angles=pd.DataFrame() if angles is None else angles, **made)


def _called(lm: LM, site: Site, units: Units, variables: Sequence[str]) -> str:
    """Which entry each column of a mask is, in order."""
    names = entry_names(lm, site, units.d)
    own = {v: [names[entry] for entry in units.entries(i).tolist()] for i, v in enumerate(variables)}
    return "; ".join(f"those of {v} are, in order, {', '.join(entries)}" for v, entries in own.items())


def _projections(a: Alignment, lm: LM, encoded: Prompts, values: Mapping[str, Any]) -> pd.DataFrame:
    """What prompts have at the site, in the coordinates of each variable's columns."""
    rows = np.arange(len(encoded))
    ((_, hidden),) = vectors(HookEngine(lm), Dataset(encoded, {}), rows, [a.cell.site])
    if not a.feature.fits(hidden.shape[1]):
        raise DasError(f"{a.cell.id} is not of vectors of {hidden.shape[1]} entries, which {lm.name} has at {a.cell.site}")
    parts = []
    for i, (variable, column) in enumerate(values.items()):
        read = a.feature.read(hidden, i)[:, :COLUMNS]
        own = {f"c{j + 1}": read[:, j].tolist() for j in range(read.shape[1])}
        for part, value in _parts(column).items():
            parts.append(pd.DataFrame({"variable": variable, "part": part, "prompt": rows, "value": value, **own}))
    return pd.concat(parts, ignore_index=True)


def _parts(column: Any) -> dict[str, list[Any]]:
    """A variable's values as a table can hold them: of short vectors of numbers each part by itself, other objects as text."""
    values = column.tolist()
    lengths = {len(value) if isinstance(value, list | tuple) else 0 for value in values}
    if len(lengths) == 1 and 1 < (length := lengths.pop()) <= PARTS and all(_number(x) for value in values for x in value):
        return {f"[{i}]": [value[i] for value in values] for i in range(length)}
    plain = [value if isinstance(value, bool | int | float | str) else str(value) for value in values]
    return {"": plain if len({type(value) for value in plain}) == 1 or all(map(_number, plain)) else [str(v) for v in plain]}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _explained(found: pd.DataFrame) -> pd.DataFrame:
    """The correlation ratio of each column with the variable's values (numbers of many values in `GROUPS` groups)."""
    rows = []
    for (variable, part), mine in found.groupby(["variable", "part"], sort=False):
        group = _grouped(mine["value"])
        if len(set(group)) > len(mine) / FEW:
            continue
        for column in [c for c in COORDINATES if c in mine and mine[c].notna().all()]:
            total = float(((mine[column] - mine[column].mean()) ** 2).sum())
            within = float(((mine[column] - mine.groupby(group)[column].transform("mean")) ** 2).sum())
            if total > 0:
                rows.append({"variable": variable, "part": part, "column": column, "share": 1 - within / total})
    return pd.DataFrame(rows, columns=["variable", "part", "column", "share"])


def _grouped(values: pd.Series[Any]) -> Any:
    """A group for each value: the value, or of numbers with many values one of `GROUPS` that are as large as each other."""
    if values.dtype.kind in "if" and values.nunique() > GROUPS:
        return pd.qcut(values, GROUPS, labels=False, duplicates="drop").to_numpy()
    return values.astype(str).to_numpy()


def _tokens(lm: LM, a: Alignment, subspace: Subspace, variables: Sequence[str], encoded: Prompts) -> tuple[pd.DataFrame, str]:
    """The tokens that each column raises and lowers most, and what was done; of a site of several tokens, by each of them."""
    site, rows = a.cell.site, list[dict[str, Any]]()
    try:
        head, size = unembedding(lm, encoded), lm.size(*site.spot)
        for i, variable in enumerate(variables):
            columns = subspace.columns(i)[:, :COLUMNS]
            for place, part in enumerate(columns.split(size)):
                logits = head.read(written(lm, *site.spot, part, encoded).to(head.scale))
                where = {"variable": variable, "place": f", token {place + 1}" if len(columns) > size else ""}
                for j in range(columns.shape[1]):
                    rows += [where | {"column": j + 1} | row for row in _ends(lm, logits[:, j])]
    except DasError as error:
        return pd.DataFrame(), f"not asked: {error}"
    return pd.DataFrame(rows), head.words


def _ends(lm: LM, logits: Any) -> list[dict[str, Any]]:
    order = logits.argsort(descending=True).tolist()
    some = [(end, token) for end, tokens in (("+", order[:TOKENS]), ("-", order[::-1][:TOKENS])) for token in tokens]
    return [{"end": end, "token": _word(lm, token), "id": token, "logit": float(logits[token])} for end, token in some]


def _word(lm: LM, token: int) -> str:
    """A token as text; by its number where the network knows no words."""
    known = lm.tokenizer is not None and token < len(lm.tokenizer)
    return str(lm.tokenizer.decode([token])) if known else f"<{token}>"
