"""Kinds: the finders by name, with their settings; plain data, so that a command line can name them without loading torch."""

from __future__ import annotations

import dataclasses
import importlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from das.errors import DasError, shown, unknown
from das.ground.checks import fitted, number, whole

if TYPE_CHECKING:
    from das.network.site import Site

MOST, FASTEST = 2**20, 10
"""No vector has so many entries; no rate of learning is higher."""


@dataclass(frozen=True)
class Kind:
    """A finder with its settings, which are numbers in bounds, or words of a few; DasError where one is not.

    finder: the module of `das.find` whose `find(cells, search)` makes the alignments; by default that of the class.
    trains: whether it has a training that can be gone on with; stack: by which type of `das.find.stack.Stack`, as module.Class;
    settles: whether a cell that has learned something trains to the end, since how much it takes is found on the way.
    learns: whether it looks for the variable at all. ordered: whether its columns come in order of importance, so that the
    first of them are a finding too. projects: whether what it swaps is always a projection of the whole difference, no longer
    than that in any direction (see `das.find.dead`). annealed: whether what it swaps while it trains is soft, and is kept
    beside what is swapped at evaluation. by_value: whether it goes by what values the variables have. operand: the setting
    that all of `KIND:…` gives, where that is one. A kind with a `tolerance` looks for its rank (see `das.find.rank.settle`).
    """

    finder: ClassVar[str] = ""
    trains: ClassVar[bool] = False
    stack: ClassVar[str] = ""
    settles: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    ordered: ClassVar[bool] = False
    projects: ClassVar[bool] = False
    annealed: ClassVar[bool] = False
    operand: ClassVar[str] = ""
    by_value: ClassVar[bool] = False

    @property
    def width(self) -> int:
        """The most columns per variable; 0 for a kind that has none."""
        return getattr(self, "k", 0)

    def parameters(self, entries: int, variables: int) -> int:
        """How many numbers of a cell train, at vectors of so many entries."""
        return 0

    def kept(self, entries: int, variables: int) -> int:
        """Bytes of what is written of a cell's feature, at most."""
        return 4 * variables * self.width * (entries + 1)

    @property
    def by_place(self) -> bool:
        """Whether each place of a site has columns of its own; by default they are of all places together."""
        return getattr(self, "each", False)

    @property
    def slack(self) -> float | None:
        """How much less validation IIA than the best the rank may have; None for a kind whose rank is given."""
        return getattr(self, "tolerance", None)

    @property
    def label(self) -> str:
        """Its name in tables, different for different kinds: `nested32`, or `nested32,lr=0.1` where a setting besides the width
        is not the default."""
        others = [f for f in dataclasses.fields(self) if f.name != "k" and getattr(self, f.name) != f.default]
        return ",".join([short_name(self), *(f"{f.name}={getattr(self, f.name)}" for f in others)])

    def check_site(self, site: Site) -> None:
        """DasError where the kind is not for a site."""

    def check_vectors(self, entries: int) -> None:
        """DasError where the kind is not for vectors of so many entries."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            name = f"{type(self).__name__.lower()}.{f.name}"
            object.__setattr__(self, f.name, _setting_of(f, name, getattr(self, f.name)))


class Rotation(Kind):
    """A rotation that is trained, all cells of a grid at once.

    each: at a site of several places, k columns for each place, trained together, in place of k columns over all their vectors.
    """

    finder = "trained"
    trains = True
    stack = "rotations.SubspaceStack"
    projects = True

    def parameters(self, entries: int, variables: int) -> int:
        return variables * self.width * entries


@dataclass(frozen=True)
class Boundless(Rotation):
    """Boundless DAS (arXiv 2305.08809, corrected): a rotation and a learned boundary that says how many columns swap.

    k: the most columns per variable. Column i is swapped by σ((β − i − ½)/T), where β is the boundary in columns; the
    temperature T falls geometrically from `k * start` to `end` columns. `penalty * β/k` is added to the loss. A mask much
    sharper than that holds on to columns that are worth next to nothing: between two columns nothing pulls β down but the
    penalty, and at a column's edge its slope, which grows as 1/T, stops it.
    At evaluation the mask is hard: the columns that are swapped by a tenth or more at the end (a boundary that falls too fast
    comes back slowly, and the columns next above it are in use already), less those without which the validation IIA stays
    within `tolerance` of the best.
    """

    settles = True
    annealed = True

    k: int = 32
    penalty: float = 4.0
    start: float = 0.5
    end: float = 0.3
    lr: float = 0.02
    boundary_lr: float = 0.01
    tolerance: float = 0.02
    each: bool = False


@dataclass(frozen=True)
class Nested(Rotation):
    """Nested DAS: every training row swaps its own first w columns, w drawn log-uniformly from 1…k.

    One training orders the columns by importance and gives IIA at every rank. The rank is the smallest width whose
    validation IIA is within `tolerance` of the best, less columns that nobody needs there. After a third of the training, most
    rows draw w from the widths around the rank that it is likely to be: under the log-uniform law alone few rows say that so
    many columns are enough (one in 23 at rank 6 of 32), and part of the variable stays in the columns behind. As each row
    teaches few columns, the rate is higher than that of the other kinds.
    """

    settles = True
    ordered = True

    k: int = 32
    tolerance: float = 0.02
    lr: float = 0.06
    each: bool = False


@dataclass(frozen=True)
class Fixed(Rotation):
    """DAS (arXiv 2303.02536): a rotation whose first k columns are swapped."""

    k: int = 1
    lr: float = 0.02
    each: bool = False


@dataclass(frozen=True)
class Random(Kind):
    """A random k-dimensional subspace, not trained: what a subspace of this size is worth by itself."""

    finder = "untrained"
    learns = False

    k: int = 1


@dataclass(frozen=True)
class Full(Kind):
    """The whole vector, not trained."""

    finder = "untrained"
    learns = False


KINDS: dict[str, str] = {
    **{name.lower(): f"kinds.{name}" for name in ("Boundless", "Nested", "Fixed", "Random", "Full")},
    "diffmeans": "diffmeans.DiffMeans", "pca": "pca.PCA", "lat": "lat.LAT", "probe": "probe.Probe", "given": "given.Given",
    "neurons": "neurons.Neurons", "dictionary": "dictionary.Dictionary",
    "means": "diffmeans.DiffMeans",  # as runs before called it
}  # fmt: skip
"""The registry: a kind's name → where in `das.find` its class lies."""


def type_of(name: str) -> type[Kind]:
    """The class of a kind by its name; DasError where there is none."""
    if name.lower() not in KINDS:
        raise unknown("kind of subspace", name, KINDS)
    module, _, cls = KINDS[name.lower()].partition(".")
    found: type[Kind] = getattr(importlib.import_module(f"das.find.{module}"), cls)
    return found


def check_width(kind: Kind, variables: int, d: int) -> None:
    """DasError where vectors of d entries have too few for the columns of so many variables."""
    if (columns := variables * kind.width) > d:
        raise DasError(
            f"k = {kind.width} for {variables} variable(s) needs {columns} columns, and the vectors there have {d}: "
            f"give k up to {d // variables}"
        )


def mark(kind: Kind) -> int:
    """A number by which kinds of one short name differ; `each` counts only where it is set: older runs know nothing of it."""
    return zlib.crc32(repr(kind).replace(", each=False", "").encode()) & 0xFFFF


def short_name(kind: Kind) -> str:
    """`boundless32`, `full`: a kind and its width."""
    return type(kind).__name__.lower() + str(getattr(kind, "k", ""))


def kind_name(kind: Kind) -> str:
    """A kind's name in tables (see `Kind.label`)."""
    return kind.label


def plain_kind(kind: Kind) -> dict[str, Any]:
    """A kind as YAML or JSON holds it; `parse_kind` reads it back. `each` stands there only where it is set (see `mark`)."""
    settings = {name: value for name, value in dataclasses.asdict(kind).items() if (name, value) != ("each", False)}
    return {"kind": type(kind).__name__.lower(), **settings}


def parse_kind(given: Kind | str | Mapping[str, Any]) -> Kind:
    """A kind from itself, from `boundless`, `nested:k=16,lr=0.01` or `given:FOLDER`, or from `{kind: nested, k: 16}`."""
    if isinstance(given, Kind):
        return given
    if isinstance(given, str):
        name, _, rest = given.partition(":")
        options = _settings_in(rest, type_of(name))
    elif not isinstance(given, Mapping):
        raise DasError(f"subspace {shown(given)}: expected a kind such as nested, nested:k=16 or {{kind: nested, k: 16}}")
    else:
        options = dict(given)
        name = str(options.pop("kind", ""))
    cls = type_of(name)
    known = [f.name for f in dataclasses.fields(cls)]
    for key in options:
        if key not in known or not isinstance(key, str):
            raise unknown(f"setting of {name}", key, known)
    return cls(**options)


def _settings_in(text: str, cls: type[Kind]) -> dict[str, Any]:
    """The settings in what follows a kind's name: `k=16,lr=0.01`, or `PATH,k=16` where it has an operand, in which a comma may
    stand as well."""
    parts, known = text.split(","), {f.name for f in dataclasses.fields(cls)} - {cls.operand}
    if not cls.operand:
        return dict(_setting(part) for part in parts if part)
    options: dict[str, Any] = {}
    while len(parts) > 1 and parts[-1].partition("=")[0].strip() in known:
        options |= [_setting(parts.pop())]
    return {cls.operand: ",".join(parts), **options}


def _setting(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals:
        raise DasError(f"setting {part!r} of a subspace: expected name=value, as in nested:k=16,lr=0.01")
    return key.strip(), value.strip()


def _setting_of(f: dataclasses.Field[Any], name: str, given: Any) -> Any:
    """A setting's value, of its default's type and in bounds; a word is one of the field's `choices`."""
    if choices := f.metadata.get("choices"):
        if given not in choices:
            raise unknown(name, given, choices)
        return given
    if isinstance(f.default, str):
        return fitted(name, given, str)
    if isinstance(f.default, bool):
        value = {"true": True, "false": False}.get(given, given) if isinstance(given, str) else given
        return fitted(name, value, bool)
    value = _number(name, given, type(f.default))
    if isinstance(f.default, int):
        return whole(name, value, 1, MOST)
    return number(name, value, 0, FASTEST if "lr" in f.name else MOST, above=f.name in ("start", "end"))


def _number(name: str, value: Any, kind: type[Any]) -> Any:
    try:
        if isinstance(value, bool):
            raise TypeError
        found = kind(value)
        if float(found) != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise DasError(f"{name} is {shown(value)}: expected {'a whole number' if kind is int else 'a number'}") from error
    return found
