"""What is killed, stopped, damaged or refused: nothing is lost, nothing half-written stays, nothing wrong is used without a word."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from das import DasError, Experiment, Run, cli
from das.ground import storage
from das.ground.storage import SUMS, load, read, read_json, write, write_json
from das.progress import silent
from das.run import lock
from das.run.lock import LOCK, alone
from das.run.mend import CELL, mend
from das.run.processes import Processes
from das.run.workers import Job
from das.use.signals import STOPPED, Stopped

SMALL = {
    "layers": [1], "positions": ["last"], "steps": 2, "train_pairs": 20, "val_pairs": 20, "test_pairs": 20, "chosen_seeds": 2, "closed_forms": [],
    "subspace": "nested:k=2", "nulls": 2, "threads": 1, "logger": "none",
}  # fmt: skip


# --- storage ---


def put(path, text="[1, 2, 3]"):
    write(path, lambda made: made.write_text(text))
    return path


def refuse(made):
    made.write_text("half")
    raise RuntimeError("no")


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError, match="no"):
        write(tmp_path / "new.json", refuse)
    assert list(tmp_path.iterdir()) == []
    put(tmp_path / "old.json")
    with pytest.raises(RuntimeError, match="no"):
        write(tmp_path / "old.json", refuse)
    assert read_json(tmp_path / "old.json") == [1, 2, 3]
    assert {p.name for p in tmp_path.iterdir()} == {"old.json", SUMS}


def test_links_are_replaced_and_never_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("card.json", ".partial-card.json", f"{storage.PARTIAL}card"):
        (run / name).symlink_to(precious)
    (run / f"{storage.PARTIAL}folder").symlink_to(tmp_path)
    put(run / "card.json")
    storage.sweep(run)
    assert precious.read_text() == "mine"
    assert {p.name for p in run.iterdir()} == {"card.json", SUMS}
    (run / "other").mkdir()
    (run / "other" / SUMS).symlink_to(precious)
    with pytest.raises(DasError, match="cannot be written"):
        put(run / "other" / "card.json")
    assert precious.read_text() == "mine"


def test_temporary_names_cannot_be_guessed_nor_entered(tmp_path):
    seen = []
    for _ in range(2):
        write(
            tmp_path / "x", lambda made: (seen.append((made.parent, made.parent.stat().st_mode & 0o777)), made.write_text(""))
        )
    assert seen[0][0] != seen[1][0]
    assert {mode for _, mode in seen} == {0o700}
    assert {parent.parent for parent, _ in seen} == {tmp_path}  # of the same file system


def test_every_bit_that_is_turned_over_is_found(tmp_path):
    path = put(tmp_path / "x.json")
    body = path.read_bytes()
    for at in range(8 * len(body)):
        turned = bytearray(body)
        turned[at // 8] ^= 1 << at % 8
        path.write_bytes(turned)
        with pytest.raises(DasError, match=r"x\.json is damaged"):
            read(path)
    path.write_bytes(body)
    assert read(path) == body


@pytest.mark.parametrize(
    ("body", "says"), [(None, "is missing"), (b"", "is damaged"), (b"[1, 2", "is damaged"), (b"{}", "is damaged")]
)
def test_what_is_not_what_was_written_is_one_clear_error(tmp_path, body, says):
    path = put(tmp_path / "x.json")
    path.unlink() if body is None else path.write_bytes(body)
    with pytest.raises(DasError, match=rf"x\.json {says}.*repeat the command"):
        read_json(path)


def test_files_without_a_checksum_are_taken_as_they_are_if_they_can_be_read(tmp_path):
    path = tmp_path / "old.json"
    path.write_text("[1]")
    assert read_json(path) == [1]
    path.write_text("[1")
    with pytest.raises(DasError, match=r"old\.json is damaged, it cannot be read \(JSONDecodeError"):
        read_json(path)


def test_a_kill_between_checksum_and_file_leaves_the_old_file_good(tmp_path, monkeypatch):
    path = put(tmp_path / "x.json", "[1]")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        put(path, "[2]")
    monkeypatch.undo()
    assert read_json(path) == [1]
    sums = tmp_path / SUMS
    sums.write_text(sums.read_text()[:-20])  # the last line torn
    put(path, "[3]")
    assert read_json(path) == [3]
    assert len(put(path, "[3]").with_name(SUMS).read_text().splitlines()) == 3  # none twice


def test_what_is_missing_is_told_from_what_never_was_and_from_what_is_meant_to_be_gone(tmp_path):
    path = tmp_path / "x.json"
    assert not storage.written(path)
    assert storage.written(put(path))
    path.unlink()
    with pytest.raises(DasError, match=r"x\.json is missing"):
        storage.written(path)
    storage.forget_missing(tmp_path)
    assert not storage.written(path)
    assert storage.written(put(path))
    path.unlink()
    with pytest.raises(DasError, match=r"x\.json is missing"):
        storage.written(path)


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": [float("nan"), np.float64("inf"), 1.5], "b": {"c": (-np.inf, None, True)}})
    strict = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert strict == {"a": [None, None, 1.5], "b": {"c": [None, None, True]}}


@contextmanager
def no_file_over(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path):
    with no_file_over(1000):
        with pytest.raises(DasError, match=r"x\.txt cannot be written: File too large"):
            put(tmp_path / "x.txt", "x" * 10_000)
        with pytest.raises(DasError, match=r"t\.parquet cannot be written: .*File too large"):
            write(
                tmp_path / "t.parquet", pd.DataFrame(np.random.default_rng(0).random((500, 3)), columns=list("abc")).to_parquet
            )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    for go in (lambda: put(tmp_path / "file" / "x"), lambda: alone(tmp_path / "file" / "run").__enter__()):
        with pytest.raises(DasError, match="cannot be written"):
            go()


# --- one writer at a time ---


def python(script, *arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True} | options
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], **options)


HOLD = "import sys, time; from pathlib import Path; from das.run.lock import alone\nwith alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_folder_is_held_by_one_process_until_it_dies(tmp_path):
    other = python(HOLD, tmp_path)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DasError, match=f"in use by process {other.pid} on "), alone(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate()
    assert (tmp_path / LOCK).exists()
    with alone(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_thread_may_hold_again_what_it_holds_and_another_may_not(tmp_path):
    told = []

    def other():
        try:
            with alone(tmp_path):
                told.append("held")
        except DasError as error:
            told.append(str(error))

    with alone(tmp_path), alone(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread" in told[0]
    with alone(tmp_path):
        pass


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        ("", True),
        (f"{2**22 + 1} {socket.gethostname()}", True),
        (f"{os.getppid()} {socket.gethostname()}", False),
        ("1 elsewhere", False),
    ],
)
def test_where_the_system_has_no_locks_the_word_of_a_living_process_counts(tmp_path, monkeypatch, holder, free):
    monkeypatch.setattr(lock, "_flock", lambda _: None)
    (tmp_path / LOCK).write_text(holder)
    if free:
        with alone(tmp_path):
            assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    else:
        with pytest.raises(DasError, match="in use by process"), alone(tmp_path):
            pass


# --- workers ---


class Unportable(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = lambda: b


def fails(*_):
    raise ValueError("a callback of the user's")


def fails_oddly(*_):
    raise Unportable("odd", 1)


def leaves(*_):
    sys.exit(0)


def is_killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def ends(*_):
    os._exit(7)


def sleeps(*_):
    time.sleep(100)


def do(*jobs):
    Processes(2).do([Job("", Path(), job) for job in jobs], silent)


@pytest.mark.parametrize(
    ("job", "kind", "says"),
    [
        (fails, ValueError, "a callback of the user's"),
        (fails_oddly, RuntimeError, "Unportable: odd"),
        (leaves, DasError, "ended from within .SystemExit"),
        (is_killed, DasError, "killed .out of memory"),
        (ends, DasError, "status 7"),
    ],
)
def test_what_befalls_a_worker_is_said_and_the_others_end(job, kind, says):
    with pytest.raises(kind, match=says):
        do(sleeps, job)


def test_settings_that_cannot_be_handed_on_are_one_clear_error():
    with pytest.raises(DasError, match="workers=1"):
        do(lambda *_: None)


def session(pid):
    """Processes of a session that are no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(") ")[2].split()[:4]
        except OSError:
            continue
        found += [int(stat.parent.name)] if int(sid) == pid and state != "Z" else []
    return found


def gone(pid, within):
    deadline = time.monotonic() + within
    while session(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not session(pid)


WORKERS = """
import signal, sys, time
from das.progress import Lines
from pathlib import Path
from das.run.processes import Processes, refuse_at_start
from das.run.workers import Job
def job(folder, report):
    report.say("at work")
    time.sleep(100)
def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    refuse_at_start()
    Processes(2).do(2 * [Job("", Path(), job)], Lines())
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda n: n.name)
def test_workers_end_with_their_parent_and_leave_nothing(tmp_path, number):
    (tmp_path / "script.py").write_text(f"{WORKERS}\nif __name__ == '__main__':\n    main()\n")
    command = [sys.executable, "script.py"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    parent = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True, **pipes
    )
    try:
        assert [parent.stdout.readline() for _ in range(2)] == ["at work\n"] * 2
        parent.send_signal(number)
        parent.wait(20)
        assert gone(parent.pid, 10)
        assert "leaked" not in parent.communicate()[1]
    finally:
        for pid in session(parent.pid):
            os.kill(pid, signal.SIGKILL)


def test_a_script_without_a_guard_is_told_so_once(tmp_path):
    (tmp_path / "script.py").write_text(f"{WORKERS}\nmain()\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.count("Error: ") == 1
    assert "under `if __name__ == '__main__':`" in done.stderr
    assert "memory" not in done.stderr


# --- signals ---


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_stopped_says_how_to_go_on(monkeypatch, capsys, number, status):
    before = signal.signal(number, {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}[number])

    def plot(run: str) -> None:
        os.kill(os.getpid(), number)
        time.sleep(30)

    monkeypatch.setattr("das.commands.plot.plot", plot)
    try:
        assert cli.main(["plot", "x"]) == status
        assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == f"das: {STOPPED}: das plot x\n"


def test_what_does_not_end_is_cut_short():
    script = """
import os, signal, time
from das.use import signals
signals.GRACE = 0.3
with signals.stoppable():
    for _ in range(2):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (143, f"das: {STOPPED}\n")


def test_a_signal_that_is_ignored_stays_so(monkeypatch, capsys):
    def plot(run: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        print("on it goes")

    monkeypatch.setattr("das.commands.plot.plot", plot)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli.main(["plot", "x"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out == "on it goes\n"


# --- runs ---


def experiment():
    return Experiment("arithmetic", "arithmetic-tiny", **SMALL)


class Said:
    """A reporter that remembers."""

    def __init__(self):
        self.lines = []

    def task(self, name, total):
        return silent.task(name, total)

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "figures", lambda _: [])
        yield


@pytest.fixture(scope="module")
def whole(no_pictures, tmp_path_factory):
    return experiment().run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def copy(whole, tmp_path):
    return Run(shutil.copytree(whole.folder, tmp_path / "run"))


def assert_same(a, b):
    """Tables and summary are equal, and every alignment to the last bit."""
    pd.testing.assert_frame_equal(a.results(), b.results())
    assert a.summary | {"wall_seconds": 0} == b.summary | {"wall_seconds": 0}
    cells = [sorted(path.name for path in (run.folder / "cells").iterdir()) for run in (a, b)]
    assert cells[0] == cells[1]
    for cell in cells[0]:
        for name in CELL:
            assert (a.folder / "cells" / cell / name).read_bytes() == (b.folder / "cells" / cell / name).read_bytes(), (
                cell,
                name,
            )


def a_bit(path):
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 4
    path.write_bytes(body)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


HARM = {"bit": a_bit, "cut": cut, "removed": Path.unlink, "empty": lambda path: path.write_bytes(b"")}


def test_the_summary_is_json_and_the_folder_has_no_leftovers(whole):
    json.loads((whole.folder / "summary.json").read_text(), parse_constant=pytest.fail)
    names = {path.name for path in whole.folder.rglob("*")}
    assert LOCK not in names
    assert not any(storage.PARTIAL in name for name in names)


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_file_is_never_used(whole, copy, harm):
    cell = whole.table()["cell"][0]
    mine = whole.alignment(cell).cell
    uses = {
        "summary.json": lambda: Run.open(copy.folder).summary,
        "results.parquet": copy.table,
        "pairs.parquet": lambda: copy.test_bases(mine.hypothesis),
        "nulls/shuffled-0.parquet": copy.nulls,
        f"cells/{cell}/alignment.safetensors": lambda: copy.alignment(cell),
        f"cells/{cell}/card.json": lambda: copy.alignment(cell),
        f"cells/{cell}/hits.safetensors": lambda: copy.hits(mine),
        f"cells/{cell}/natural.safetensors": lambda: copy.natural(mine),
        f"cells/{cell}/scorecard.json": lambda: copy.scorecard(mine),
        f"failures_{mine.hypothesis}.json": lambda: copy.failures(mine.hypothesis),
    }
    for name, use in uses.items():
        use()
        kept = (copy.folder / name).read_bytes()
        HARM[harm](copy.folder / name)
        with pytest.raises(DasError):
            use()
        (copy.folder / name).write_bytes(kept)


@pytest.mark.parametrize("harm", ["bit", "removed"])
def test_a_damaged_run_heals(whole, copy, harm):
    one, other = list(whole.table()["cell"])[:2]
    names = {
        "summary.json", "results.parquet", "examples.parquet", "time.json", "audit.json", "pairs.parquet", "nulls/shuffled-0.parquet",
        f"failures_{one.partition('-')[0]}.json", f"cells/{one}/card.json", f"cells/{other}/scorecard.json",
    }  # fmt: skip
    for name in names:
        HARM[harm](copy.folder / name)
    said = Said()
    experiment().run(copy.folder, said)
    assert_same(whole, copy)
    assert any(f"{one}/card.json is missing or damaged: the cell is made anew" in line for line in said.lines)
    assert copy.nulls().equals(whole.nulls())
    for name in names - {"time.json", "summary.json"}:
        assert (copy.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


@pytest.mark.parametrize("kept", [1, 3])
def test_cells_do_not_depend_on_where_their_writing_was_interrupted(whole, tmp_path, monkeypatch, kept):
    """Two cells of the grid, then two of the chosen sites, are written one after another."""
    written, save = [], Run.save

    def stop(run, record):
        if len(written) == kept:
            raise KeyboardInterrupt
        written.append(record)
        save(run, record)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            experiment().run(tmp_path / "run")
    assert list((tmp_path / "run").glob("checkpoints/*/last.ckpt"))
    said = Said()
    assert_same(whole, experiment().run(tmp_path / "run", said))
    assert any("going on from a checkpoint" in line for line in said.lines)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_signal_in_training_is_still_that_signal(tmp_path):
    class Stopping(Said):
        @contextmanager
        def task(self, name, total):
            yield lambda *_, **__: self.stop() if name == "grid: 2 cells" else None

        def stop(self):
            raise Stopped(signal.SIGTERM, "stopped")

    with pytest.raises(Stopped) as stop:
        experiment().run(tmp_path / "run", Stopping())
    assert stop.value.status == 143
    assert not list((tmp_path / "run").rglob(LOCK))


@pytest.mark.parametrize("harm", ["cut"])
def test_a_torn_checkpoint_stops_no_run(whole, tmp_path, monkeypatch, harm):
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            experiment().run(tmp_path / "run")
    (last,) = (tmp_path / "run").glob("checkpoints/*/last.ckpt")
    HARM[harm](last)
    said = Said()
    assert_same(whole, experiment().run(tmp_path / "run", said))
    assert any("last.ckpt is damaged: beginning anew" in line for line in said.lines)


@pytest.mark.parametrize("size", [3000, 20_000])
def test_a_run_on_a_full_disk_is_one_clear_error_and_goes_on(whole, tmp_path, size):
    """At first the table of pairs has no room, then the checkpoint."""
    with no_file_over(size), pytest.raises(DasError, match=r"cannot be written: .*the same command goes on from here"):
        experiment().run(tmp_path / "run")
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.startswith((storage.PARTIAL, LOCK))]
    if size > 3000:
        assert (tmp_path / "run" / "pairs.parquet").exists()
        assert_same(whole, experiment().run(tmp_path / "run"))


def test_a_folder_is_refused_to_a_second_run_and_nothing_is_touched(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.folder.rglob("*")}
    refused = []

    def second():
        for go in (lambda: experiment().run(copy.folder), lambda: copy.shift("all")):
            try:
                go()
            except DasError as error:
                refused.append(str(error))

    with alone(copy.folder):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 2
    assert all("is in use by" in text for text in refused)
    assert {path: path.stat().st_mtime_ns for path in copy.folder.rglob("*")} == before


def test_mending_leaves_what_is_whole(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.folder.rglob("*") if path.is_file()}
    (copy.folder / "cells" / f"{storage.PARTIAL}x").mkdir()
    said = Said()
    mend(copy.folder, said)
    assert said.lines == []
    assert {path: path.stat().st_mtime_ns for path in copy.folder.rglob("*") if path.is_file()} == before
    assert not (copy.folder / "cells" / f"{storage.PARTIAL}x").exists()


def test_a_run_without_its_configuration_is_refused(copy):
    (copy.folder / "config.yaml").unlink()
    with pytest.raises(DasError, match=r"without its config\.yaml"):
        experiment().run(copy.folder)


def test_an_unreadable_file_says_what_it_is(tmp_path):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DasError, match=r"folder\.json cannot be read"):
        load(tmp_path / "folder.json", json.loads)
