"""Memorisation on a language model: does taking out "known by heart" take recall, and leave facts?

    python benchmarks/memorisation.py --json benchmarks/results/smollm2/memorisation.json

Directions from made-up lines to those known by heart, each with the one of its form, are found at the end of their openings by
several kinds. First that of the first kind is added at each layer, both ways, on lines that it was found on, and the layer is
taken where recall falls most. Then each kind's is added there on held-out lines and on facts (capitals and languages), beside
random directions that are as long: the share of lines that are completed to the letter, and of facts that are right. How well
a direction tells held-out lines from made-up ones stands beside it; it is turned so that + is towards remembered.
Draws the figure beside the JSON file. One thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gauge
import pandas as pd
import torch
from torch import Tensor

import das
from das.draw.matches import AS_LONG, matches_figure, rates
from das.find.alignment import Alignment, Cell
from das.find.directions import Direction, Seen
from das.find.kinds import parse_kind
from das.interchange.engine import HookEngine
from das.interchange.subspace import Subspace
from das.network.lm import LM
from das.network.site import Site
from das.task.task import Task
from das.task.texts import Texts
from das.use.matches import FOUND, matches
from das.use.steerer import Steerer

KINDS, LAYERS = ("lat:k=1", "diffmeans:k=1", "probe:k=1"), (8, 14, 20)

At = tuple[int, str]
"""A layer and a kind."""

Lines = Sequence[tuple[str, str]]
"""Openings and endings."""

TRIED, DOSES = (-4.0, 4.0), (-4.0, -2.0, 0.0, 2.0, 4.0)
"""In natural spreads along the direction."""


def lines(task: Task, shift: str, remembered: bool) -> list[tuple[str, str]]:
    """Openings and endings of lines that are, or are not, known by heart."""
    values = task.under(shift).model.run(task.under(shift).model.inputs.enumerate())
    some = values["line"][values["remembered"] == remembered].tolist()
    return [tuple(line.split(" | ")) for line in some]


def facts() -> list[tuple[str, str]]:
    """Questions of fact editing, asked as its directions are found, and their answers."""
    task = das.load_task("fact_editing")
    asked = pd.DataFrame(task.model.inputs.enumerate())
    asked = asked[(asked["question"] != "continent") & (asked["shown"] == "Peru")]
    values = task.model.run({name: asked[name].to_numpy() for name in asked})
    return list(zip(task.render(values).texts, values[task.model.output].tolist(), strict=True))


def held(lm: LM, lines: Lines, layers: Sequence[int]) -> dict[int, Tensor]:
    """What openings have at their last token after each layer, (lines, d)."""
    prompts = Texts([opening for opening, _ in lines], {}).encode(lm.tokenizer, ["last"])
    spots = {layer: ("block_output", layer) for layer in layers}
    capture, last = HookEngine(lm).capture(prompts, list(spots.values())), torch.from_numpy(prompts.positions["last"])
    return {layer: capture.at(spot, last).flatten(1).float() for layer, spot in spots.items()}


def direction(kind: Direction, layer: int, known: Tensor, made_up: Tensor) -> Alignment:
    """From made-up lines to known ones, each a pair with its own; both stand as bases, since some kinds go by their values."""
    bases, values = torch.cat([made_up, known]), torch.arange(2).repeat_interleave(len(known))
    differ = torch.ones(1, len(bases), dtype=torch.bool)
    (columns,) = kind.columns(Seen(bases, torch.cat([known, made_up])[None], values[None], differ, differ))
    vector = columns[:, :1] * torch.sign((known - made_up).mean(0) @ columns[:, :1])
    feature = Subspace(torch.nn.functional.normalize(vector, dim=0)[:, None], torch.ones(1, 1))
    return Alignment(Cell("remembered", Site(layer, "opening.last"), kind), feature)


def read(alignment: Alignment, known: Tensor, made_up: Tensor) -> tuple[float, float]:
    """The standard deviation of lines along a direction, and how often a known one lies farther along it than a made-up one."""
    vector = alignment.feature.directions(0)[:, 0]
    one, other = known @ vector, made_up @ vector
    return float(torch.cat([one, other]).std()), float((one[:, None] > other).float().mean())


def added(
    lm: LM, alignment: Alignment, unit: float, sets: Mapping[str, Any], doses: Sequence[float], randoms: int = 0
) -> pd.DataFrame:  # fmt: skip
    """Matches against natural spreads towards remembered; random directions are named by the one that they are as long as."""
    found = matches(Steerer(alignment, lm), sets, [dose * unit for dose in doses], randoms=randoms)
    label = alignment.cell.kind.label
    names = [label if name == FOUND else f"{name}{AS_LONG}{label}" for name in found["direction"]]
    return found.assign(alpha=(found["alpha"] / unit).round(6), direction=names)


def readings(found: Mapping[At, Alignment], have: Mapping[tuple[str, bool], Mapping[int, Tensor]]) -> list[dict[str, Any]]:
    """Of each direction the spread on the lines that it was found on, and how well it tells apart those that are held out."""
    rows = []
    for (layer, kind), each in found.items():
        (spread, _), (_, apart) = (read(each, have[s, True][layer], have[s, False][layer]) for s in ("base", "held_out"))
        rows.append({"kind": kind, "layer": layer, "spread": spread, "told apart": apart})
    gauge.table(rows)
    return rows


def tried(
    lm: LM, found: Mapping[At, Alignment], units: Mapping[At, float], known: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Recall of lines that directions were found on, with the first kind's taken out and put in at each layer."""
    rows = []
    for at in (at for at in found if at[1] == KINDS[0]):
        shares = rates(added(lm, found[at], units[at], {"lines": known}, TRIED))["share"]
        rows.append({"layer": at[0], "less": shares[0], "more": shares[1]})
    gauge.table(rows)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--lm", default="smollm2-135m")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--randoms", type=int, default=2, help="random directions beside each")
    options = parser.parse_args(arguments)
    lm, task, layers = LM.load(options.lm), das.load_task("memorisation"), options.layers
    here = {(shift, known): lines(task, shift, known) for shift in ("base", "held_out") for known in (True, False)}
    have = {which: held(lm, some, layers) for which, some in here.items()}
    known, made_up = have["base", True], have["base", False]
    found = {
        (layer, kind): direction(parse_kind(kind), layer, known[layer], made_up[layer]) for layer in layers for kind in KINDS
    }
    told = readings(found, have)
    units = {(row["layer"], row["kind"]): row["spread"] for row in told}
    by_layer = tried(lm, found, units, here["base", True])
    layer = min(by_layer, key=lambda row: row["less"])["layer"]
    sets, parts = {"lines by heart": here["held_out", True], "facts": facts()}, []
    for at in ((layer, kind) for kind in KINDS):
        parts.append(added(lm, found[at], units[at], sets, DOSES, options.randoms))
        gauge.table(rates(parts[-1]).round(3).to_dict("records"))
    table = pd.concat(parts, ignore_index=True)
    gauge.write_json(options.json, rates(table).round(3).to_dict("records"), layer=layer, tried=by_layer, readings=told)
    if options.json:
        matches_figure(table, "natural spreads towards remembered").savefig(options.json.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
