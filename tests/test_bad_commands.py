"""Whatever is given on the command line that cannot be used ends in one line; nothing is imported, nothing is left behind."""

import os
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from das.cli import main
from das.commands.registry import COMMANDS
from das.task.files import load_task

TASK = str(ROOT / "tasks" / "price_tagging.py")
RUN = ["run", TASK, "--lm", "price-tagger-tiny"]
FIT = ["fit-lm", TASK]
LINES = {
    # numbers
    "seeds -1": "seeds is -1", "seeds 1e3": "seeds is 1000.0", "seed -1": "seed is -1", "seed 99999999999": "seed is 99999999999",
    "threads -1": "threads is -1", "threads 1000000": "threads is 1000000", "workers 0": "workers is 0",
    "workers 1000000": "workers is 1000000", "steps inf": "steps is 'inf'", "steps .inf": "steps is inf", "steps 0": "steps is 0",
    "steps 99999999999": "steps is 99999999999", "steps null": "steps is None", "steps true": "steps is True",
    "steps [1]": "steps is [1]", "batch 0": "batch is 0", "train_pairs 1000000000000": "train_pairs is 1000000000000",
    "budget .nan": "budget is nan", "budget 0": "budget is 0", "budget 2": "budget is 2", "budget x": "budget is 'x'",
    "memory .inf": "memory is inf", "memory -1": "memory is -1", "retrain .nan": "retrain is nan", "retrain x": "retrain is 'x'",
    "retrain {x:2}": "retrain is", "nulls 1": "nulls is 1", "nulls -1": "nulls is -1", "patience 0": "patience is 0",
    # lists
    "layers [[1]]": "layers is [[1]]", "layers [-1]": "layer is -1", "layers [99]": "layer 99 does not exist", "layers x": "'x'",
    "layers []": "layers is empty", "layers {}": "layers is {}", "positions [[last]]": "positions is [['last']]",
    "positions [1]": "positions is [1]", "positions []": "positions is empty", "positions [last": "not valid YAML",
    "positions [é.first]": "'é'", "components [[heads]]": "[['heads']]", "components 5": "components is 5",
    "hypotheses [5]": "hypotheses is [5]", "hypotheses [x/y]": "'x/y'", "beside nestd": "'nestd'",
    "beside [5]": "subspace 5", "beside [{k:2}]": "unknown kind of subspace",
    # mappings, kinds and shifts
    "families pairs.jsonl": "families is 'pairs.jsonl'", "families {}": "families is {}", "families [flip]": "families is",
    "families {flip: .inf}": "inf", "families {flip: -1}": "-1", "families {flop: 1}": "'flop'", "families {1: 1}": "families",
    "subspace nested:k=0": "nested.k is 0", "subspace nested:lr=inf": "nested.lr is inf", "subspace fixed:k=200": "give k up to 64",
    "subspace nested:k=99999999999": "nested.k is 99999999999", "subspace null": "subspace None", "subspace {}": "kind of subspace",
    "subspace [": "not valid YAML", "subspace !!python/name:os.system": "not valid YAML", "shifts 5": "shifts is 5",
    "shifts [5]": "5", "shifts nowhere": "'nowhere'", "shifts few_shot:0": "few_shot is 0", "shifts offset:1000000000": "offset is 10",
    "shifts {/tmp/x: chat}": "'/tmp/x'", "shifts {5: chat}": "5", "shifts {x: 5}": "5", "shifts {x: {offset: .inf}}": "offset",
    "shifts {x: {given: 5}}": "given", "under 5": "under is 5", "under nowhere": "'nowhere'", "under {offset: 1.5}": "1.5",
    # words
    "device tpu": "'tpu'", "device cuda:99": "cuda:99", "dtype float64": "'float64'", "logger nosuch": "'nosuch'", "only_correct x": "'x'",
    "only_correct 1": "only_correct is 1", "lm": "option --lm has no value", "nosuch 5": "--nosuch", "config nosuch.yaml": "nosuch.yaml",
    "out file": "out is 'file'", "out file/below": "file is a file", "out /proc/x/y": "/proc/x/y",
}  # fmt: skip
FITS = {
    "width 0": "width is 0", "heads 0": "heads is 0", "heads 3": "heads is 3", "layers 0": "layers is 0", "lr 1e30": "lr is 1e+30",
    "lr .inf": "lr is inf", "lr -1": "lr is -1", "lr x": "lr is 'x'", "seed -1": "seed is -1", "seed 1000000000000": "seed is 10",
    "threads -3": "threads is -3", "warmup 2": "warmup is 2", "clip 0": "clip is 0", "mix 5": "mix is 5", "mix {5: {base: 1}}": "step 0",
    "mix {0: {bas: 1}}": "'bas'", "mix {0: {base: .nan}}": "nan", "weight_decay .nan": "nan", "rank 0": "rank is 0", "lora": "--base",
    "out file": "file is a file", "out file/x": "file is a file", "steps 0": "steps is 0", "exam 0": "exam is 0",
}  # fmt: skip
OTHERS = {
    "long name for a network": (["plan", TASK, "--lm", "x" * 5000], "xxx"),
    "long name for a folder": ([*RUN, "--out", "x" * 300], "255 bytes"),
    "NUL in a folder": ([*RUN, "--out", "a\0b"], "NUL"),
    "empty folder": ([*RUN, "--out", ""], "empty"),
    "long name of a task": (["check", "x" * 400], "xxx"),
    "NUL in a task": (["check", "a\0b"], "NUL"),
    "new with a long name": (["new", "x" * 300], "xxx"),
    "new in a file": (["new", "mine", "--folder", "file"], "file is a file"),
    "threads of a check": (["check", TASK, "--threads", "-1"], "threads is -1"),
    "device of a check": (["check", TASK, "--device", "tpu"], "'tpu'"),
    "dtype of a check": (["check", TASK, "--dtype", "int8"], "'int8'"),
    "positions of a check": (["check", TASK, "--positions", "5"], "positions is 5"),
    "seed of identify": (["identify", TASK, "--seed", "-1"], "seed is -1"),
    "pairs of identify": (["identify", TASK, "--pairs", "1e30"], "pairs is"),
    "families of identify": (["identify", TASK, "--families", "{flip: .inf}"], "inf"),
    "a run that is none": (["shift", "nosuch"], "nosuch is no run folder"),
    "a number for a run": (["plot", "5"], "5 is no run folder"),
    "a file for a run": (["paper-table", "file"], "file is no run folder"),
    "a run with NUL": (["plot", "a\0b"], "a"),
}
TABLE = {f"run --{line}": ([*RUN, *f"--{line}".split(" ", 1)], text) for line, text in LINES.items()}
TABLE |= {f"fit-lm --{line}": ([*FIT, *f"--{line}".split(" ", 1)], text) for line, text in FITS.items()} | OTHERS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    return tmp_path


def one_line(capsys, arguments, status=2):
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("das: ")
    assert err.count("\n") == 1
    assert len(err) < 1000
    return err


@pytest.mark.parametrize("name", TABLE)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(name, capsys, here):
    arguments, text = TABLE[name]
    assert text in one_line(capsys, arguments)
    assert [path.name for path in here.rglob("*")] == ["file"]


def test_the_table_is_large():
    assert len(TABLE) >= 100


FILES = {
    "a key twice": ("steps: 5\nsteps: 6", "'steps' stands twice"),
    "a key that is a number": ("5: 6", "called 5"),
    "too deep": ("shifts: " + "[" * 3000, "not valid YAML"),
    "a long number": ("steps: " + "9" * 5000, "not valid YAML"),
    "no such day": ("under: 2020-13-45", "not valid YAML"),
    "a day": ("under: 2020-01-01", "2020"),
    "a set": ("shifts: !!set {a, b}", "shifts is"),
    "itself": ("shifts: &x [*x]", "shifts hold"),
    "an object": ("under: !!python/object/apply:os.system [touch x]", "not valid YAML"),
    "another file": ("config: other.yaml", "'config'"),
    "bytes": ("under: !!binary aGk=", "under is"),
}


@pytest.mark.parametrize("name", FILES)
def test_settings_that_cannot_be_used_are_one_line(name, capsys, here):
    line, text = FILES[name]
    (here / "run.yaml").write_text(f"task: {TASK}\nlm: price-tagger-tiny\n{line}\n")
    assert text in one_line(capsys, ["run", "run.yaml"])
    assert {path.name for path in here.rglob("*")} == {"file", "run.yaml"}


# --- a configuration imports nothing ---

CODE = [
    {"class_path": "evil.E"}, {"class_path": "evil.E", "init_args": {"x": 1}}, {"class_path": "evil", "dict_kwargs": {}},
    "evil.E", "evil", {"__path__": "evil.py"}, {"kind": "evil.E"}, {"kind": {"class_path": "evil.E"}},
    {"kind": "nested", "class_path": "evil.E"}, [{"class_path": "evil.E"}], {"x": {"class_path": "evil.E"}},
    {"class_path": "evil.f"}, {"init_args": {"class_path": "evil.E"}}, "evil.yaml", "!!python/name:evil.E",
]  # fmt: skip
KEYS = [
    "task", "lm", "subspace", "beside", "shifts", "under", "families", "retrain", "components", "layers", "positions", "logger",
    "hypotheses", "class_path", "init_args", "__path__", "steps", "out",
]  # fmt: skip


@pytest.fixture
def evil(here, monkeypatch):
    """A module that leaves a mark when it is imported, where it would be found; gives the mark's path."""
    mark = here / "imported"
    (here / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass E:\n    pass\ndef f():\n    return 1\n")
    (here / "evil.yaml").write_text("class_path: evil.E\n")
    monkeypatch.syspath_prepend(str(here))
    yield mark
    sys.modules.pop("evil", None)


@pytest.mark.parametrize("key", KEYS)
def test_no_configuration_imports_a_module(key, evil, here, capsys):
    base = {"task": "nosuch", "lm": "./nosuch", "hypotheses": ["x"]}
    for value in CODE:
        (here / "run.yaml").write_text(yaml.safe_dump(base | {key: value}))
        words = [f"--{key}", value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)]
        for command in ("run", "plan", "fit-lm"):
            one_line(capsys, [command, "run.yaml"])
            one_line(
                capsys, [command, TASK, "--lm", "./nosuch", *words] if command != "fit-lm" else [command, "nosuch", *words]
            )
    assert not evil.exists()
    assert "evil" not in sys.modules


def test_no_option_of_any_command_imports_a_module(evil, here, capsys, monkeypatch):
    for name in ("DAS_RUN__SUBSPACE", "DAS_SUBSPACE", "JSONARGPARSE_DEFAULT_ENV"):
        monkeypatch.setenv(name, '{"class_path": "evil.E"}')
    for command in COMMANDS:
        for value in map(str, CODE):
            one_line(capsys, [command, "./nosuch", "--shifts", value])
            one_line(capsys, [command, "./nosuch", "--families", value])
            one_line(capsys, [command, "./nosuch", "--subspace.class_path", "evil.E"])
            one_line(capsys, [command, "./nosuch", f"--subspace={value}"])
    assert not evil.exists()


def test_the_mark_is_left_by_an_import(evil):
    import evil as module

    assert module.f() == 1
    assert evil.exists()


# --- endings ---

STOPPING = "import sys\nsys.exit(0)\n"


def test_a_task_that_stops_the_program_is_an_error(here, capsys):
    (here / "stops.py").write_text(STOPPING)
    assert "stops.py cannot be run: SystemExit" in one_line(capsys, ["run", "stops.py", "--lm", "price-tagger-tiny"])


ENDS = {
    "disk full": (OSError(28, "No space left on device", "runs/x"), 1, "runs/x: No space left on device: make room"),
    "read only": (PermissionError(13, "Permission denied", "runs/x"), 1, "runs/x: Permission denied"),
    "memory": (MemoryError(), 1, "out of memory: give a smaller batch"),
    "memory of a device": (RuntimeError("CUDA out of memory. Tried"), 1, "out of memory: give a smaller batch"),
    "stopped": (SystemExit(0), 1, "sys.exit(0)"),
    "fault": (ValueError("two\nlines"), 1, "ValueError: two lines (DAS_DEBUG=1 shows where)"),
    "interrupt": (KeyboardInterrupt(), 130, "stopped; the same command goes on from here"),
}


@pytest.mark.parametrize("name", ENDS)
def test_whatever_ends_a_command_is_one_line_and_a_status(name, capsys, monkeypatch):
    error, status, text = ENDS[name]

    def plot(run: str) -> None:
        raise error

    monkeypatch.setattr("das.commands.plot.plot", plot)
    assert text in one_line(capsys, ["plot", "x"], status)
    monkeypatch.setenv("DAS_DEBUG", "1")
    assert main(["plot", "x"]) == status
    assert "Traceback" in capsys.readouterr().err


def test_no_one_reading_on_is_silent_and_no_success(here):
    script = f"{sys.executable} -m das run --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", f"sleep 0; {script}"], cwd=here, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_terminal_that_knows_ascii_alone_is_written_to(here):
    done = subprocess.run(
        [sys.executable, "-m", "das", "run", "--help"], cwd=here, capture_output=True, text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "hypothesis ? layer" in done.stdout


def test_the_shipped_task_is_not_refused():
    assert load_task(TASK).name == "price_tagging"
