"""Alignment: a cell, and what was found for it."""

from __future__ import annotations

import json
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file

from das.errors import DasError, one_line
from das.find.card import model_card
from das.find.kinds import Kind, mark, parse_kind, plain_kind, short_name
from das.ground.storage import load, read_json
from das.interchange.feature import Feature, Listed, Whole
from das.interchange.latents import Latents
from das.interchange.subspace import Subspace
from das.interchange.units import Units
from das.network.site import Site

PLACE_BYTES = 120
"""Of a site in a cell's id, which is a folder's name: a longer one, or one that is a path, goes by a number."""


Curve = dict[int, float]
"""Width, in columns of each variable (of a mask over heads, in their entries) → IIA."""

FILES = "card.json", "alignment.safetensors"

KEPT = "cell", "feature", "steps", "rank", "boundary"
"""What a card says of the alignment itself."""

FEATURES: dict[str, type[Feature]] = {"Subspace": Subspace, "Units": Units, "Latents": Latents, "Whole": Whole}
"""The types of features that a folder may hold."""


def _hashed(text: str) -> str:
    return f"site{zlib.crc32(text.encode()):08x}"


@dataclass(frozen=True)
class Cell:
    """One alignment to train: hypothesis × site × kind of subspace × seed."""

    hypothesis: str
    site: Site
    kind: Kind
    seed: int = 0

    @property
    def id(self) -> str:
        """A folder's name; cells that differ in anything differ in it."""
        component = "" if self.site.component == "block_output" else f"{self.site.component.replace('{layer}', 'N')}."
        layer = f"L{re.sub(r'[0-9]+', lambda number: number[0].zfill(2), str(self.site.layer))}"
        where = f"{layer}.{component}{self.site.position}"
        if len(where.encode()) > PLACE_BYTES or any(mark in where for mark in "/<"):
            where = f"L{self.site.places[0].layer:02d}.{_hashed(where)}"
        return f"{self.hypothesis}-{where}-{short_name(self.kind)}.{mark(self.kind):04x}-s{self.seed}"

    @classmethod
    def of_plain(cls, given: Mapping[str, Any]) -> Cell:
        """As a card holds it."""
        return cls(given["hypothesis"], Site(**given["site"]), parse_kind(given["kind"]), given["seed"])

    @property
    def generator_seed(self) -> int:
        """What the cell's random numbers depend on: itself alone, so that its result does not depend on its company."""
        return zlib.crc32(self.id.encode())

    @property
    def trains(self) -> bool:
        return self.kind.trains


def mark_of(cells: Sequence[Cell]) -> str:
    """A name for exactly these cells."""
    return f"{zlib.crc32(' '.join(sorted(cell.id for cell in cells)).encode()):08x}"


@dataclass
class Alignment(ModelHubMixin):
    """A cell with what was found for it, and what it cost.

    `save_pretrained(folder)`, `push_to_hub(repo)` and `from_pretrained(repo or folder)` are huggingface_hub's: they keep what
    `save` keeps, with a model card (see `das.find.card`).

    feature: what is swapped. soft: what was swapped when the training ended, where that is something else: Boundless' last
    mask, and of a trained mask (`das.find.masks`) the units that may be swapped, as far as their gates were open. steps: of the
    training; 0 where nothing was trained. curve: width → validation IIA, by which the rank was chosen, where the finder has
    such a curve. about: what else is known of it, as JSON can hold it: metrics and curves of its run, and what `das.use.share`
    says of the claim.
    """

    cell: Cell
    feature: Feature
    soft: Listed | None = None
    steps: int = 0
    curve: Curve = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    _hub_mixin_config: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    """The mixin would keep the constructor's arguments here, tensors among them."""

    @property
    def scores(self) -> Mapping[str, Mapping[str, float]]:
        """Split → metric → figure (see `das.judge.evaluate`), where it was evaluated."""
        scores: Mapping[str, Mapping[str, float]] = self.about.get("metrics", {})
        return scores

    @property
    def rank(self) -> int:
        return self.feature.size

    @property
    def hard(self) -> Feature:
        """`feature`, as 0.1 called it; until 0.2."""
        warnings.warn("Alignment.hard is now Alignment.feature", DeprecationWarning, stacklevel=2)
        return self.feature

    @property
    def boundary(self) -> int:
        """Columns below Boundless' boundary, or units whose gates were more open than closed, those that nobody needs among
        them."""
        return (self.soft or self.feature).size

    def save(self, folder: str | Path, card: Mapping[str, Any] | None = None) -> None:
        """Writes `alignment.safetensors` and `card.json` (the cell, and what `card` adds, by default `about`) into a folder,
        which is made if it is not there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        card = self.about if card is None else card
        soft = {} if self.soft is None else {"soft": self.soft.mask.clone()}
        save_file(self.feature.tensors() | soft, folder / "alignment.safetensors")
        cell = asdict(self.cell) | {"kind": plain_kind(self.cell.kind)}
        kept = {"cell": cell, "feature": type(self.feature).__name__, "steps": self.steps}
        body = kept | {"rank": self.rank, "boundary": self.boundary, **card}
        (folder / "card.json").write_text(json.dumps(body, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Alignment:
        """From a cell's folder. DasError where a file of it is missing or not as it was written."""
        folder = Path(folder)
        if not (folder / "card.json").is_file():
            raise DasError(f"no alignment in {folder}: expected alignment.safetensors and card.json")
        card, tensors = read_json(folder / "card.json"), load(folder / "alignment.safetensors", tensors_of)
        try:
            cell, steps = Cell.of_plain(card["cell"]), int(card["steps"])
            feature = _type_of(card, tensors, folder).of_tensors(tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise DasError(f"{folder / 'card.json'} is not the card of an alignment ({one_line(error)})") from error
        soft = feature.masked(tensors["soft"]) if isinstance(feature, Listed) and "soft" in tensors else None
        about = {name: value for name, value in card.items() if name not in KEPT}
        return cls(cell, feature, soft, steps, about=about)

    def steer(self, lm: Any, prompts: Any, **how: Any) -> Any:
        """How a network goes on from prompts when it is steered by this (see `das.use.steer.steer`)."""
        import das  # its public door: what steers lies above

        return das.steer(lm, self, prompts, **how)

    def steered(self, lm: Any, **how: Any) -> Any:
        """Steers every call of a network in a `with` block (see `das.use.steer.steered`)."""
        import das

        return das.steered(lm, self, **how)

    def monitor(self, lm: Any, texts: Any, **how: Any) -> Any:
        """Every token of texts read along this (see `das.use.monitor.monitor`)."""
        import das

        return das.monitor(lm, self, texts, **how)

    # --- huggingface_hub ---

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory, self.about)
        (save_directory / "config.json").write_text(json.dumps({"library_name": "das", "cell": self.cell.id}, indent=1) + "\n")
        (save_directory / "README.md").write_text(model_card(self), "utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Alignment:
        """options: of `huggingface_hub.snapshot_download`, as far as it has them; `config.json` says nothing that is needed."""
        if Path(model_id).is_dir():
            return cls.load(model_id)
        known = {name: options[name] for name in ("revision", "cache_dir", "force_download", "local_files_only", "token")}
        return cls.load(snapshot_download(model_id, allow_patterns=[*FILES], **known))


def _type_of(card: Mapping[str, Any], tensors: Mapping[str, Any], folder: Path) -> type[Feature]:
    """The type of a kept feature; older cards do not name it."""
    name = card.get("feature", "Subspace" if "basis" in tensors else "Whole")
    if name not in FEATURES:
        raise DasError(f"{folder} holds a feature of type {name!r}: expected one of {', '.join(FEATURES)}")
    return FEATURES[name]
