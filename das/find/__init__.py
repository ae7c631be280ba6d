"""Find: what proposes alignments. Kinds of subspace, one grid in which all rotations train, and which sites are worth
training."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "kinds": "Boundless Nested Fixed Random Full parse_kind",
        "alignment": "Alignment Cell",
        "grid": "GridTrainer Schedule",
    },
)
