"""A grid in parts that are done wherever and whenever: the same table as in one, nothing done twice, one who judges."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from das import DasError, Experiment, Run
from das.cli import main
from das.progress import silent
from das.run import lock
from das.run.lock import LOCK, Taken, alone, held, sharing
from das.run.part import Part, parts_of

SMALL = {
    "layers": [0, 1], "positions": ["a.last", "last"], "hypotheses": ["sum"], "subspace": "nested:k=4", "steps": 4, "train_pairs": 40,
    "val_pairs": 30, "test_pairs": 30, "chosen_seeds": 2, "threads": 1, "logger": "none", "check_every": 2, "memory": 1,
}  # fmt: skip


class Told:
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def task(self, name, total):
        self.say(name)
        return silent.task(name, total)

    def __contains__(self, text):
        return any(text in line for line in self.lines)


def experiment(**given):
    return Experiment("arithmetic", "arithmetic-tiny", **SMALL | given)


def cells(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in (folder / "cells").glob("[!.]*/card.json")}


# --- what a part is ---


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/99999999", "", "1/4/2"])
def test_what_is_no_part_is_one_clear_error(text):
    with pytest.raises(DasError, match="expected i/n"):
        Part.parse(text)


def test_parts_are_all_of_it_and_share_nothing():
    grid = experiment(seeds=2).grid()
    costs = [1.0 + i for i in range(len(grid))]
    every = [Part(i, 3).of(grid, costs) for i in (1, 2, 3)]
    assert every == parts_of(grid, costs, 3)
    assert sorted(cell.id for part in every for cell in part) == sorted(cell.id for cell in grid)


# --- a run of parts ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    experiment(budget=0.8).run(folder)
    return (folder / "results.parquet").read_bytes()


def test_parts_one_after_another_give_the_table_of_one_run_and_the_last_judges(whole, tmp_path):
    for i in (2, 1):
        told, before = Told(), set(cells(tmp_path)) if i == 1 else set()
        run = experiment(budget=0.8).run(tmp_path, told, shard=f"{i}/2")
        assert run.judged == (i == 1)
        assert ("left to others" in told) == (i == 2)
        assert before <= set(cells(tmp_path))
    assert (tmp_path / "results.parquet").read_bytes() == whole


def test_the_same_command_without_a_part_does_what_is_left(whole, tmp_path):
    experiment(budget=0.8).run(tmp_path, shard="1/3")
    before = cells(tmp_path)
    assert before
    experiment(budget=0.8).run(tmp_path)
    assert (tmp_path / "results.parquet").read_bytes() == whole
    assert before.items() <= cells(tmp_path).items()  # nothing was done twice


def test_parts_at_once_judge_once(whole, tmp_path):
    at_work = [
        subprocess.Popen(
            [sys.executable, "-m", "das", "run", "arithmetic", "--lm", "arithmetic-tiny", "--out", str(tmp_path), "--shard", f"{i}/2", "--budget", ".8",
             *(word for name, value in SMALL.items() for word in (f"--{name}", str(value)))],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for i in (1, 2)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in at_work]
    assert [process.returncode for process in at_work] == [0, 0], said
    assert sum("what the chosen alignments carry" in text for text in said) == 1
    assert (tmp_path / "results.parquet").read_bytes() == whole
    assert not list(tmp_path.glob(f"{LOCK}*"))


def test_a_part_of_other_settings_is_refused(tmp_path):
    experiment().run(tmp_path, shard="1/2")
    with pytest.raises(DasError, match="holds a run with steps = 4, not 5"):
        experiment(steps=5).run(tmp_path, shard="2/2")


def test_the_command_line_tells_what_is_left(tmp_path, capsys):
    words = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    base = ["run", "arithmetic", "--lm", "arithmetic-tiny", "--out", str(tmp_path / "run"), *words]
    assert main([*base, "--shard", "1/2"]) == 0
    assert "left to others" in capsys.readouterr().out
    assert main([*base, "--shard", "3/2"]) == 2
    assert "expected i/n" in capsys.readouterr().err
    assert not Run(tmp_path / "run").judged


# --- who may write at the same time ---


def test_parts_may_be_written_at_once_and_the_whole_may_not(tmp_path):
    with sharing(tmp_path, "1-of-2"), sharing(tmp_path, "2-of-2"):
        assert held(tmp_path)
        with pytest.raises(Taken, match="in use"), alone(tmp_path):
            pass
        with pytest.raises(Taken, match="in use"), sharing(tmp_path, "1-of-2"):
            pass
    with alone(tmp_path), pytest.raises(Taken, match="in use"), sharing(tmp_path, "1-of-2"):
        pass
    with alone(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    assert not held(tmp_path)


def test_a_part_waits_until_the_folder_is_free(tmp_path):
    told, holding = Told(), threading.Event()

    def hold():
        with alone(tmp_path):
            holding.set()
            deadline = time.monotonic() + 30
            while "waiting:" not in told and time.monotonic() < deadline:
                time.sleep(0.05)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    experiment().run(tmp_path, told, shard="1/2")
    thread.join()
    assert "waiting:" in told
    assert cells(tmp_path)


@pytest.mark.parametrize(("quiet", "free"), [(0.0, False), (60.0, False), (121.0, True), (10_000.0, True)])
@pytest.mark.parametrize("system", [True, None], ids=["locks of a host", "no locks"])
def test_a_holder_on_another_host_is_dead_once_it_gives_no_sign_of_life(tmp_path, monkeypatch, quiet, free, system):
    monkeypatch.setattr(lock, "_flock", lambda _: system)
    (tmp_path / LOCK).write_text("12 elsewhere\n")
    then = time.time() - quiet
    os.utime(tmp_path / LOCK, (then, then))
    assert held(tmp_path) != free
    if free:
        with alone(tmp_path):
            assert socket.gethostname() in (tmp_path / LOCK).read_text()
    else:
        with pytest.raises(Taken, match="process 12 on elsewhere"), alone(tmp_path):
            pass


def test_a_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with alone(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / LOCK).stat().st_mtime > 0
