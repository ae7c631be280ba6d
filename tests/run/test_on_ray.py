"""A run on Ray: the same table, to the last byte, with actors that are lost, and with actors that do not see its folder."""

import os
import signal
import threading
import time
from functools import partial

import pytest

from das import DasError, Experiment
from das.cli import main
from das.progress import silent
from das.run.lock import alone
from das.run.on_ray import OnRay
from das.run.settings import Settings
from das.run.workers import Job

pytest.importorskip("ray")
pytestmark = pytest.mark.xdist_group("ray")

SMALL = {
    "layers": [0, 1], "positions": ["last"], "hypotheses": ["sum"], "subspace": "nested:k=4", "steps": 6, "train_pairs": 60, "val_pairs": 40,
    "test_pairs": 40, "chosen_seeds": 2, "nulls": 2, "threads": 1, "logger": "none", "check_every": 3, "memory": 1, "shifts": ["words"],
}  # fmt: skip


def settings(**given):
    return Settings("arithmetic", "arithmetic-tiny", **SMALL | given)


def table(folder):
    return [(folder / name).read_bytes() for name in ("results.parquet", "examples.parquet", "shift.json")]


@pytest.fixture(scope="module")
def alone_there(tmp_path_factory):
    """The same run in one process."""
    folder = tmp_path_factory.mktemp("one")
    Experiment.from_settings(settings()).run(folder)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """One for all tests of this file: runs find that it is there."""
    with OnRay(None, settings(workers=2)) as workers:
        yield workers


class Killing:
    """A reporter that kills an actor a second into each of the first stages."""

    def __init__(self, workers, times):
        self.workers, self.left, self.lost = workers, times, 0

    def say(self, text):
        self.lost += "is lost" in text

    def task(self, name, total):
        if self.left and self.workers.hands:
            self.left -= 1
            victim = self.workers.hands[-1].actor
            threading.Timer(1.0, lambda: self.workers.ray.kill(victim)).start()
        return silent.task(name, total)


def test_the_table_is_that_of_one_process(alone_there, cluster, tmp_path):
    Experiment.from_settings(settings(workers=2)).run(tmp_path, launcher=cluster)
    assert table(tmp_path) == table(alone_there)


def test_actors_that_do_not_see_the_folder_send_back_what_they_write(alone_there, cluster, tmp_path):
    cluster.shared = False
    try:
        Experiment.from_settings(settings(workers=2)).run(tmp_path, launcher=cluster)
    finally:
        cluster.shared = True
    assert table(tmp_path) == table(alone_there)


@pytest.mark.slow
def test_actors_that_are_lost_change_nothing(alone_there, cluster, tmp_path):
    report = Killing(cluster, 3)
    Experiment.from_settings(settings(workers=2)).run(tmp_path, report, launcher=cluster)
    assert report.lost
    assert table(tmp_path) == table(alone_there)


# --- what befalls a job ---


def jobs():
    """Made here, so that actors are sent what they do: they do not know this file."""

    def killed(folder, report):
        os.kill(os.getpid(), signal.SIGKILL)

    def wrong(folder, report):
        raise DasError("no such thing")

    def odd(folder, report):
        raise ValueError("a callback of the user's")

    def written(name, folder, report):
        time.sleep(0.05)
        (folder / name).write_text(name)

    return {job.__name__: job for job in (killed, wrong, odd, written)}


def do(cluster, folder, *jobs):
    with alone(folder):
        cluster.do([Job(f"cells {i}", folder, job) for i, job in enumerate(jobs)], silent)


def test_a_job_that_kills_its_actor_is_given_up_and_named(cluster, tmp_path):
    with pytest.raises(
        DasError, match=r"cells 1: the actor that was at it was lost 3 times and had come no further .*run again to go on"
    ):
        do(cluster, tmp_path, partial(jobs()["written"], "kept"), jobs()["killed"])
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("job", "kind", "says"), [("wrong", DasError, "no such thing"), ("odd", ValueError, "a callback of the user's")]
)
def test_the_error_of_a_job_is_raised_as_it_is(cluster, tmp_path, job, kind, says):
    with pytest.raises(kind, match=says):
        do(cluster, tmp_path, jobs()[job])


def test_many_jobs_are_each_done_by_whoever_is_free(cluster, tmp_path):
    do(cluster, tmp_path, *[partial(jobs()["written"], str(i)) for i in range(20)])
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == sorted(str(i) for i in range(20))


# --- what is refused ---


def test_what_is_no_launcher_is_one_clear_error(tmp_path, capsys):
    base = ["run", "arithmetic", "--lm", "arithmetic-tiny", "--out", str(tmp_path / "x"), "--launcher"]
    assert main([*base, "rya"]) == 2
    assert "ray" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_cluster_without_room_is_one_clear_error(cluster):
    with pytest.raises(DasError, match="no node of the cluster has 500 CPUs"), OnRay(None, settings(threads=500)):
        pass
