"""Beside: circuits and edits that stand beside a run's alignments: folders that `das circuit` and `das edit` have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.errors import DasError
from das.ground.plain import read_yaml
from das.ground.storage import read_json, written
from das.judge.claims import Claim
from das.run.folder import Folder
from das.run.places import BESIDE, PICTURES
from das.run.provenance import others


@dataclass(frozen=True)
class Study:
    """A circuit, or edits, as a folder holds them. kind: `circuit` or `edit`; about: its JSON; claims: of each the verdict;
    empty in older folders."""

    folder: Path
    kind: str
    about: Mapping[str, Any]
    claims: list[Claim]

    @classmethod
    def at(cls, folder: Path, kind: str) -> Study:
        """DasError where its JSON cannot be read."""
        path = folder / f"{kind}.json"
        body = read_json(path)
        try:
            return cls(folder, kind, dict(body), [Claim.of_plain(each) for each in body.get("verdicts", ())])
        except (AttributeError, DasError, TypeError, ValueError) as error:
            raise DasError(f"{path} cannot be read as das {kind} writes it: make it anew") from error

    @property
    def pictures(self) -> list[Path]:
        """Those that are there."""
        return [self.folder / name for name in PICTURES[self.kind] if written(self.folder / name)]


def studies(folder: Path) -> list[Study]:
    """What a folder holds: a circuit, edits, both or nothing."""
    return [Study.at(folder, kind) for kind in PICTURES if written(folder / f"{kind}.json")]


def attached(run: Folder, given: Sequence[str | Path] | None = None) -> list[Study]:
    """What stands beside a run: what folders hold that are given, or else whatever lies in its folder `beside`. DasError where
    one holds nothing, or is of another task or network."""
    if given is None:
        inside = sorted(path for path in (run.folder / BESIDE).glob("[!.]*") if path.is_dir())
        found = [study for folder in inside for study in studies(folder)]
    else:
        found = [study for folder in given for study in _held(Path(folder))]
    for study in found:
        _check(run, study)
    return found


def _held(folder: Path) -> list[Study]:
    if found := studies(folder):
        return found
    raise DasError(f"{folder} holds no circuit and no edits: expected a folder that das circuit or das edit has written")


def _check(run: Folder, study: Study) -> None:
    """DasError unless it has verdicts, and is of the same task and network."""
    made = study.about.get("made_from")
    if not study.claims or not isinstance(made, Mapping):
        raise DasError(f"{study.folder} holds no verdict, as older versions of das wrote none: make it anew")
    if other := _other(run, study.about, made):
        raise DasError(
            f"{study.folder} is of another task or network than {run.folder}. Not the same: {'; '.join(other)}. Attach what "
            f"das {study.kind} found under the run's own"
        )


def _other(run: Folder, about: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """What differs; of a run that has no prints of what it was made from, nothing is known to."""
    if not run.made:
        return []
    mine, theirs = (Path(str(lm)).name for lm in (read_yaml(run.folder / "config.yaml").get("lm"), about.get("lm")))
    try:
        return others(run.made, made, mine, theirs)
    except (AttributeError, KeyError, TypeError):
        return ["the kinds of prints that they were made from"]
