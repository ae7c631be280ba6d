"""Card: the page that stands beside a shared alignment: what is claimed, how far it is borne out, and how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from das.errors import one_line
from das.interchange.subspace import Subspace
from das.interchange.units import Units
from das.text import count

if TYPE_CHECKING:
    from das.find.alignment import Alignment

TAGS = ["causal-abstraction", "distributed-alignment-search", "interpretability"]

ALONE = """import torch
from safetensors.torch import load_file

kept = load_file("alignment.safetensors")
basis, mask = kept["basis"], kept["hard"]  # (d, variables, columns), (variables, columns)

def swap(base, sources):
    \"\"\"base: (rows, d), float32; sources: (variables, rows, d). What stands in place of base.\"\"\"
    coordinates = torch.einsum("vrd,dvk->vrk", sources - base, basis) * mask[:, None]
    return base + torch.einsum("vrk,dvk->rd", coordinates, basis)
"""
"""The swap of a subspace, without das."""

ALONE_UNITS = """import torch
from safetensors.torch import load_file

kept = load_file("alignment.safetensors")
units, mask = kept["units"], kept["hard"]  # (variables, units): the number of each, and whether it is swapped
d, block = kept["sizes"].tolist()  # entries of a vector, and of a unit

def swap(base, sources):
    \"\"\"base: (rows, d), float32; sources: (variables, rows, d). What stands in place of base.\"\"\"
    weight = torch.zeros(len(units), d // block).scatter(1, units, mask).repeat_interleave(block, 1)
    return base + torch.einsum("vd,vrd->rd", weight, sources - base)
"""
"""The swap of units, without das."""

ALONES = {Subspace: ALONE, Units: ALONE_UNITS}


def model_card(alignment: Alignment) -> str:
    """Markdown with a YAML head, as the Hugging Face hub shows it. What the run did not say is left out."""
    about = alignment.about.get("claim") or {}
    head: dict[str, Any] = {"library_name": "das", "tags": TAGS}
    if base := about.get("base_model"):
        head["base_model"] = base
    parts = ["---", yaml.safe_dump(head, sort_keys=False).rstrip(), "---", "", *_claim(alignment, about), *_use(alignment)]
    return "\n".join(parts) + "\n"


def _claim(alignment: Alignment, about: Mapping[str, Any]) -> Iterator[str]:
    cell = alignment.cell
    yield f"# {_code(about.get('hypothesis', cell.hypothesis))}"
    if sentence := about.get("sentence"):
        yield f"\n**{about['verdict']}.** {_plain(sentence)}"
    rows = {
        "network": _code(about["network"]) if "network" in about else None,
        "site": f"{_code(cell.site)}, vectors of {about['width']} entries" if "width" in about else _code(cell.site),
        "subspace": f"{_code(cell.kind.label)}, seed {cell.seed}: {count(alignment.rank, alignment.feature.counted)}",
        **{name: _plain(text) for name, text in (about.get("figures") or {}).items()},
    }
    yield "\n| | |\n|---|---|"
    yield from (f"| {_plain(name)} | {text} |" for name, text in rows.items() if text is not None)


def _use(alignment: Alignment) -> Iterator[str]:
    yield "\n## Use\n\nWith [das](https://pypi.org/project/boundless-das/) (`pip install boundless-das`):\n"
    yield '```py\nimport das\n\nalignment = das.Alignment.from_pretrained("FOLDER OR REPOSITORY")'
    yield "changed = base + alignment.feature.swap(base, sources)  # (rows, d), (variables, rows, d)\n```"
    if alone := ALONES.get(type(alignment.feature)):
        yield f"\nWithout it, beside `alignment.safetensors`:\n\n```python\n{alone}```"


def _plain(text: object) -> str:
    """A text that is no markup: what Markdown and HTML would take for theirs is escaped."""
    return "".join(f"\\{c}" if c in "\\`*_[]|<>&#" else c for c in one_line(text))


def _code(text: object) -> str:
    return "`" + one_line(text).replace("`", "'").replace("|", "/") + "`"
