"""Places: what the files of circuits and edits are called, and where they lie beside a run."""

from __future__ import annotations

BESIDE = "beside"
"""The folder of a run in which whatever lies is attached to it."""

PICTURES = {"circuit": ("circuit.png", "curve.png"), "edit": ("edit.png",)}
"""What was found, which is what its JSON is called → its pictures."""
