"""Does the plan tell the truth? Seconds that `das plan` says beside those that a run took, stage by stage.

    python benchmarks/plan.py runs/demo runs/smollm2-ioi --json benchmarks/results/plan.json     finished runs
    python benchmarks/plan.py configs/demo.yaml --keep runs --calibrate                           runs it first

A folder of a finished run holds the seconds of its stages, on the clock and of the processors (`time.json`; runs older than
that do not say theirs). A YAML file is run first, into a folder under `--keep`, or one that is thrown away. The plan is that of
the folder's own settings on this machine as it was calibrated, so do that on the machine that ran it: with `--calibrate` it is
done first. `ratio` is planned by measured seconds on the clock, `processor ratio` by processor seconds,
which hold on a machine that does other things as well. `--within` says how far off a stage may be; those that take less than
`--from` processor seconds are not judged.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gauge

from das import Experiment
from das.progress import console
from das.run.calibrate import calibrate
from das.run.folder import Folder
from das.run.plan import Plan, layout_of, plan
from das.run.prices import read
from das.run.settings import Settings, read_yaml


def settings_of(path: Path) -> Settings:
    """Those of a finished run, or of a YAML file."""
    if path.is_dir():
        return Folder.open(path).settings()
    return Settings(**{key: value for key, value in read_yaml(path).items() if key != "out"})


def planned(settings: Settings, measure: bool) -> Plan:
    """On this machine. measure: calibrates where there is no calibration."""
    layout, _ = layout_of(settings)
    if measure and read(layout) is None:
        calibrate(layout, console())
    return plan(layout)


def ran(settings: Settings, path: Path, keep: Path | None) -> Iterator[Path]:
    """A folder with the finished run, which is thrown away unless it is to be kept."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (keep or Path(scratch)) / path.stem
        Experiment.from_settings(replace(settings, logger="none")).run(folder, console())
        yield folder


def rows(name: str, made: Plan, took: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """A row per stage that was planned or took place; no ratio of what was not both."""
    found = []
    for stage in dict.fromkeys([*made.seconds, *took]):
        row: dict[str, Any] = {"run": name, "stage": stage}
        for key, of_plan in (("seconds", made.seconds), ("processor", made.processor)):
            row |= {f"planned {key}": of_plan.get(stage, 0.0), f"measured {key}": took.get(stage, {}).get(key, 0.0)}
        ratios = {"ratio": "seconds", "processor ratio": "processor"}
        row |= {ratio: _ratio(row[f"planned {key}"], row[f"measured {key}"]) for ratio, key in ratios.items()}
        found.append(row)
    return found


def _ratio(planned: float, measured: float) -> float | str:
    return planned / measured if planned and measured else ""


def off(every: list[dict[str, Any]], within: float, least: float) -> list[dict[str, Any]]:
    """The stages that take long enough to be judged, and are further off than so."""
    judged = [row for row in every if row["measured processor"] >= least and row["processor ratio"] != ""]
    return [row for row in judged if not 1 / within <= row["processor ratio"] <= within]


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs, or YAML files to run")
    parser.add_argument("--keep", type=Path, help="where to keep the runs of YAML files")
    parser.add_argument("--calibrate", action=argparse.BooleanOptionalAction, default=False, help="where there is none yet")
    parser.add_argument("--within", type=float, default=1.5, help="the factor that a stage may be off by")
    parser.add_argument("--from", dest="least", type=float, default=5.0, help="processor seconds of a stage that is judged")
    options = parser.parse_args()
    every: list[dict[str, Any]] = []
    for path in options.runs:
        settings = settings_of(path)
        made = planned(settings, options.calibrate)
        for folder in ran(settings, path, options.keep):
            every += rows(path.stem, made, Folder(folder).stage_seconds)
    gauge.table(every)
    wrong = off(every, options.within, options.least)
    print(f"{len(wrong)} stages of {options.least:g} s and more are off by more than a factor {options.within:g}")
    gauge.write_json(options.json, every, within=options.within, off=[[row["run"], row["stage"]] for row in wrong])


if __name__ == "__main__":
    main()
