"""Outcome: what a finished run found, as text for the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from das.network.site import place_text
from das.text import aligned

DICTIONARY = {"explained": ".3f", "l0": ".1f", "dead": ".3f", "clean": ".3f", "reconstruction": ".3f"}
"""Figure of a dictionary → how it is written."""


def outcome(summary: dict[str, Any]) -> str:
    """Tables of scores and of evidence, and the verdicts, of a run's summary."""
    entries = list(summary["hypotheses"].values())
    parts = [
        f"task accuracy {_figure(summary['task_accuracy'], '.3f')}, {summary['cells']} cells\n{aligned(_scores(entries))}",
        aligned(_evidence(entries)) if any(entry.get("scorecard") for entry in entries) else "",
        aligned(_dictionaries(entries)),
        "\n".join(entry["verdict"]["sentence"] for entry in entries if entry.get("verdict")),
    ]
    return "\n\n".join(filter(None, parts))


def _scores(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row per hypothesis and kind of subspace."""
    beside = "no-op", "whole", "random"
    rows: list[tuple[str, ...]] = []
    rows.append(("hypothesis", "chosen cell", "subspace", "val IIA", "test IIA", "95 % interval", "flip", "rank", *beside))
    for entry in entries:
        for name, found in kinds_of(entry).items():
            sd = f" ± {found['test_iia_sd']:.3f}" if found["test_iia_sd"] is not None else ""
            low, high = found["test_ci"]
            rows.append(
                (
                    entry["hypothesis"], place_text(entry), name, f"{found['val_iia']:.3f}",
                    f"{found['test_iia']:.3f}{sd}", f"{low:.3f}–{high:.3f}", _figure(found["test_flip_iia"], ".3f"),
                    f"{found['rank']:g}", *(f"{found['baselines'][b]:.2f}" for b in ("noop", "whole", "random")),
                )
            )  # fmt: skip
    return rows


def _evidence(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row per hypothesis and kind of subspace that has a scorecard, and its verdict."""
    rows: list[tuple[str, ...]] = []
    every = [(entry, name, found) for entry in entries for name, found in kinds_of(entry).items()]
    for entry, name, found in every:
        if found is not entry and not found.get("scorecard"):
            continue
        verdict = found.get("verdict") or {"verdict": "–", "p": None}
        figures = evidence_figures(found.get("scorecard") or {}) | {"off-manifold": found.get("test_off_manifold")}
        rows = rows or [("hypothesis", "subspace", "verdict", "p", *figures)]
        told = entry["hypothesis"], name, verdict["verdict"], _figure(verdict["p"], ".2g")
        rows.append((*told, *map(_figure, figures.values())))
    return rows


def _dictionaries(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row per dictionary: what it reconstructs, and how often prompts are answered right with nothing swapped, by the network
    itself and with the vector replaced by its reconstruction; none where none was tried."""
    rows: list[tuple[str, ...]] = []
    for entry in entries:
        for name, found in kinds_of(entry).items():
            if known := found.get("dictionary"):
                rows = rows or [
                    ("hypothesis", "dictionary", "explained", "L0", "dead", "right as it is", "right reconstructed")
                ]
                told = (_figure(known.get(figure), form) for figure, form in DICTIONARY.items())
                rows.append((entry["hypothesis"], name, *told))
    return rows


def kinds_of(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What was found of a hypothesis, by the kind of subspace; the run's own first."""
    return {entry["subspace"]: entry, **entry["beside"]}


def evidence_figures(card: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a scorecard, means over variables."""
    isolate = [share for kept in card.get("isolate", {}).values() for share in kept.values()]
    return {
        "cause": _mean(card.get("cause", {}).values()),
        "isolate": _mean(isolate),
        "disentangle": card.get("disentangle"),
        "decoding": _mean(accuracy for accuracy, _ in card.get("decoding", {}).values()),
        "selectivity": _mean(card.get("selectivity", {}).values()),
        **{name.replace("_", " "): card.get(name) for name in ("ablation", "recovery", "complete", "read_share")},
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def _figure(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)
