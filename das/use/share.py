"""Share: an alignment of a run with what is to be said of it, for a folder, the Hugging Face hub or another library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from das import __version__
from das.errors import DasError
from das.find.alignment import Alignment
from das.find.sites import SITE
from das.ground.storage import write
from das.interchange.feature import Listed
from das.network.named import NAMED
from das.network.site import Site
from das.run.folder import Folder
from das.text import short

FORMS = "das", "mib"


def described(run: Folder, cell: str) -> Alignment:
    """An alignment of a run, its `about` with the claim that it bears: the chosen cells' verdict, this cell's figures. cell:
    its id."""
    alignment = run.alignment(cell)
    found, entry = run.card(alignment.cell), run.summary["hypotheses"][alignment.cell.hypothesis]
    chosen = alignment.cell.site == Site(**{part: entry[part] for part in SITE})
    claim = {
        "hypothesis": entry["hypothesis"], **_network(str(run.summary["lm"])), "task": Path(str(run.summary["task"])).stem,
        "token": run.summary["tokens"].get(alignment.cell.site.position), "das": __version__,
        "figures": _figures(found["metrics"]["test"], entry, chosen),
    }  # fmt: skip
    if isinstance(alignment.feature, Listed):
        claim["width"] = alignment.feature.d
    if chosen and entry.get("verdict"):
        claim |= {name: entry["verdict"][name] for name in ("verdict", "sentence")}
    return replace(alignment, about=alignment.about | {"claim": claim})


def _network(name: str) -> dict[str, str]:
    """A network's public name, never where it lies on this machine; and the hub's, where it is from there."""
    if name in NAMED:
        return {"network": name, "base_model": NAMED[name].hub}
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        return {"network": Path(name).name}
    return {"network": name} | ({"base_model": name} if "/" in name else {})


def _figures(test: Mapping[str, float], entry: Mapping[str, Any], chosen: bool) -> dict[str, str]:
    """What the card's table says: this cell's, and where it is a chosen one what all seeds there come to."""
    beside = {name: test[name] for name in ("noop", "whole", "random", "majority", "ceiling") if test.get(name) is not None}
    figures = {"IIA on test pairs": f"{test['iia']:.3f}", "beside it": ", ".join(f"{n} {short(v)}" for n, v in beside.items())}
    if not chosen:
        return figures | {"verdict": "none: it is not the cell that was chosen on validation"}
    low, high = entry["test_ci"]
    figures["IIA over seeds"] = f"{entry['test_iia']:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    nulls = ", ".join(f"{null}: p = {found['p']:.2g}" for null, found in entry.get("nulls", {}).items())
    return figures | {"nulls": nulls or "none were run"}


def to_folder(alignment: Alignment, folder: str | Path, form: str = "das", token: str | None = None) -> Path:
    """Writes an alignment into a new folder, whole or not at all. form: `das` (safetensors and a model card), or `mib` (see
    `das.use.mib`), with its name of the position as token."""
    from das.use.mib import save_mib

    if form not in FORMS:
        raise DasError(f"form is {form!r}: expected one of {', '.join(FORMS)}")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DasError(f"{folder} exists and is not empty: give another folder")

    def fill(made: Path) -> None:
        if form == "mib":
            save_mib(alignment, made, token)
        else:
            alignment.save_pretrained(made)

    write(folder, fill)
    return folder
