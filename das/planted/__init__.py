"""Planted: networks whose truth is known, built or trained, to try the finders and the judge on."""

from das import handing_on

__getattr__, __all__ = handing_on(__name__, {"planting": "Planted plant linear", "structures": "STRUCTURES"})
