"""A finder and a feature of one's own, neither of them a subspace, go through the whole experiment: nobody asks what they are."""

import sys
from dataclasses import dataclass

import pytest
import torch

from das import Experiment, Run
from das.find.alignment import FEATURES, Alignment
from das.find.kinds import KINDS, Kind
from das.interchange.feature import Feature, Whole
from das.interchange.vectors import vectors

SIZES = {"train_pairs": 64, "val_pairs": 64, "test_pairs": 64, "layers": [3], "positions": ["last"], "logger": "none"}


@dataclass(frozen=True, eq=False)
class Entries(Feature):
    """Some entries of a vector as they are, the same for one variable."""

    chosen: torch.Tensor
    of: int
    variables: int = 1

    @property
    def size(self):
        return len(self.chosen)

    def swap(self, base, sources):
        change = torch.zeros_like(base, dtype=torch.float32)
        change[:, self.chosen] = (sources[0] - base).float()[:, self.chosen]
        return change

    def read(self, rows, variable=0):
        return rows[:, self.chosen]

    def fits(self, width):
        return width == self.of

    def twin(self, generator):
        return Entries(torch.randperm(self.of, generator=generator)[: self.size], self.of)

    def tensors(self):
        return {"chosen": self.chosen, "of": torch.tensor(self.of)}

    @classmethod
    def of_tensors(cls, tensors):
        return cls(tensors["chosen"], int(tensors["of"]))


@dataclass(frozen=True)
class Loud(Kind):
    """The k entries that vary most."""

    k: int = 96


def find(cells, search):
    done = []
    for cell in cells:
        data = search.data["train"]
        ((_, rows),) = vectors(search.engine, data, data.pairs[cell.hypothesis].base, [cell.site])
        done.append(Alignment(cell, Entries(rows.var(0).argsort(descending=True)[: cell.kind.k], rows.shape[1])))
    return done


@pytest.fixture
def door(monkeypatch):
    """Registers both, as lines in the registries would."""
    monkeypatch.setitem(sys.modules, "das.find.loud", sys.modules[__name__])
    monkeypatch.setitem(KINDS, "loud", "loud.Loud")
    monkeypatch.setitem(FEATURES, "Entries", Entries)


def test_an_experiment_judges_what_it_has_never_seen(door, tmp_path):
    settings = SIZES | {
        "subspace": "loud:k=100",
        "chosen_seeds": 1,
        "closed_forms": [],
        "nulls": 2,
        "steps": 10,
        "shifts": ["words"],
    }
    Experiment("arithmetic", "arithmetic-tiny", hypotheses=["sum"], **settings).run(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    (row,) = run.table().itertuples()
    assert row.subspace == "loud100"
    assert row.rank == 100
    assert 0 <= row.test_iia <= 1
    entry = run.summary["hypotheses"]["sum"]
    assert set(entry["nulls"]) == {"untrained", "shuffled", "random"}
    assert entry["verdict"]["verdict"]
    card = run.scorecard(run.alignment(row.cell).cell)
    assert card["decoding"]
    assert card["recovery"] is not None
    assert card["read_cause"] == {}, "entries have no directions of their own to be read"
    assert run.robustness().table()["iia"].notna().any()


def test_all_entries_are_the_whole_vector():
    base, source = torch.randn(4, 6), torch.randn(1, 4, 6)
    every = Entries(torch.arange(6), 6)
    torch.testing.assert_close(every.swap(base, source), Whole().swap(base, source))
    assert every.complement.swap(base, source).abs().max() < 1e-6
