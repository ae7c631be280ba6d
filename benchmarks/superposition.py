"""How five features lie in two dimensions, by how dense they are: the toy model of superposition.

    python benchmarks/superposition.py --figure superposition.png --json superposition.json

A feature is there with probability p, and then even on 0…1; feature i weighs .9^i. The model x̂ = ReLU(WᵀWx + b), W (2, 5), is
trained to give x back (Elhage et al. 2022, arXiv 2209.10652). Dense features: the two most important ones have a direction
each, and the others none. Rarer ones share directions: in pairs that point away from each other, at last as a pentagon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gauge
import torch
from torch import Tensor

from das.ground.storage import write

FEATURES, WIDTH, FADES = 5, 2, 0.9
DENSITIES = (1.0, 0.72, 0.4, 0.19, 0.1, 0.05, 0.01)
STEPS, BATCH, LR, SEEDS = 4000, 1024, 3e-3, 5

TRIED = 50_000
"""Rows on which a density's models are compared, the same for all of them."""

THERE = 0.5
"""A feature of this length or more has a direction."""

RIGHT, AWAY = 0.15, -0.95
"""Two directions whose cosine is within the first of 0 are orthogonal; below the second they point away from each other."""

SPREAD = 15.0
"""By how many degrees the corners of a pentagon may be off."""


def trained(densities: Sequence[float], seeds: int, steps: int = STEPS, batch: int = BATCH) -> Tensor:
    """(densities, seeds, 2, 5): the directions of the features, of all models trained side by side; of each density's the one
    that errs least comes first."""
    generator = torch.Generator().manual_seed(0)
    shape, weight = (len(densities), seeds), FADES ** torch.arange(FEATURES)
    share = torch.tensor(densities)[:, None, None, None]

    def off(rows: int) -> Tensor:
        draws = torch.rand(2, len(densities), 1 if rows > batch else seeds, rows, FEATURES, generator=generator)
        x = draws[0] * (draws[1] < share)
        error: Tensor = ((torch.relu(x @ w.mT @ w + b) - x).square() * weight).sum(-1).mean(-1) / share[..., 0, 0]
        return error

    w = (0.5 * torch.randn(*shape, WIDTH, FEATURES, generator=generator)).requires_grad_()
    b = torch.zeros(*shape, 1, FEATURES, requires_grad=True)
    optimizer = torch.optim.Adam([w, b], LR)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(steps):
        optimizer.zero_grad()
        off(batch).sum().backward()
        optimizer.step()
        rate.step()
    with torch.no_grad():
        best = off(TRIED).argsort(1)
    return w.detach().take_along_dim(best[..., None, None], 1)


def phase(w: Tensor) -> str:
    """What the directions of a model, (2, 5), look like."""
    lengths = w.norm(dim=0)
    there = w[:, lengths >= THERE] / lengths[lengths >= THERE]
    cosines = (there.T @ there).masked_fill(torch.eye(there.shape[1], dtype=torch.bool), 0)
    match there.shape[1]:
        case 2 if float(cosines.abs().max()) < RIGHT:
            return "2 orthogonal"
        case 4 if int((cosines < AWAY).sum()) == 4:
            return "4 in antipodal pairs"
        case 5 if _even(there):
            return "pentagon"
        case n:
            return f"{n} otherwise"


def _even(there: Tensor) -> bool:
    """Whether directions (2, n) are spread evenly over the circle."""
    angles = torch.rad2deg(torch.atan2(there[1], there[0])).sort().values
    gaps = torch.cat([angles.diff(), angles[:1] + 360 - angles[-1:]])
    return float((gaps - 360 / len(angles)).abs().max()) < SPREAD


def rows(densities: Sequence[float], w: Tensor) -> Iterator[dict[str, Any]]:
    """A row per density: the phase of the model that errs least and its directions, and how many seeds end in which."""
    for density, models in zip(densities, w, strict=True):
        phases = dict(Counter(phase(model) for model in models).most_common())
        directions = [[round(x, 3) for x in feature] for feature in models[0].T.tolist()]
        yield {"density": density, "phase": phase(models[0]), "directions": directions, "seeds": phases}


def figure(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Each density's model that errs least: a feature is an arrow, the most important the darkest."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(1.9 * len(table), 2.8), layout="constrained")
    for ax, row in zip(drawn.subplots(1, len(table), squeeze=False)[0], table, strict=True):
        for i, (x, y) in enumerate(row["directions"]):
            arrow = {"arrowstyle": "-|>", "color": colormaps["viridis"](i / FEATURES), "lw": 2, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (x, y), (0, 0), arrowprops=arrow)
        ax.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal", xticks=[], yticks=[])
        ax.set_title(
            f"p = {row['density']:g}\n{row['phase']}\n{row['seeds'][row['phase']]} of {sum(row['seeds'].values())} seeds",
            fontsize=9,
        )
    drawn.suptitle("five features in two dimensions, the most important the darkest", fontsize=10)
    write(path, partial(drawn.savefig, format="png", dpi=150), noted=False)


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--figure", type=Path, help="where to draw the features as arrows")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="models for each density")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the training")
    options = parser.parse_args()
    table = list(rows(DENSITIES, trained(DENSITIES, options.seeds, options.steps)))
    for row in table:
        counts = ", ".join(f"{name} {count}" for name, count in row["seeds"].items())
        print(f"p = {row['density']:<5g} {row['phase']} (seeds: {counts})")
    if options.figure:
        figure(table, options.figure)
    gauge.write_json(options.json, table)


if __name__ == "__main__":
    main()
