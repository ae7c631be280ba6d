"""What `das` says of where one stands, and what Tab completes there."""

import json
import os
import shlex
import socket
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from das.cli import main
from das.commands.complete import candidates
from das.commands.completion import SCRIPTS
from das.commands.registry import COMMANDS
from das.network.source import names
from das.run.about import README, about, go_on, onward
from das.task.files import load_task
from das.use.around import FINISHED, INTERRUPTED, RUNNING, UNREADABLE, Found, networks, runs


def make(folder, *verdicts, cells=2, written=0):
    """A run's folder, finished if there are verdicts."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"task": "price_tagging", "lm": "price-tagger-tiny"}))
    for cell in range(cells):
        (folder / "cells" / f"{cell}").mkdir(parents=True)
        (folder / "cells" / f"{cell}" / "card.json").touch()
    (folder / "cells" / ".partial-x").mkdir()
    if verdicts:
        said = [{"verdict": verdict, "sentence": f"h{i}: {verdict}; IIA 0.9."} for i, verdict in enumerate(verdicts)]
        entries = {str(i): {"verdict": verdict} for i, verdict in enumerate(said)}
        (folder / "summary.json").write_text(json.dumps({"hypotheses": entries}))
    for path in (folder, *folder.iterdir()):
        os.utime(path, (written, written))
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def several(here):
    make(here / "runs" / "demo", "partly", "not above the null", "partly", written=100)
    make(here / "runs" / "smollm2" / "ioi", cells=5, written=200)
    (here / "runs" / "notes").mkdir()
    return here


def test_runs_are_told_by_their_small_files(several):
    ioi, demo = runs()
    assert (ioi.state, ioi.cells, ioi.outcome) == (INTERRUPTED, 5, "interrupted")
    assert (demo.state, demo.cells, demo.outcome) == (FINISHED, 2, "2 partly, 1 not above the null")
    assert [str(run.folder) for run in runs("runs/demo")] == ["runs/demo"]


@pytest.mark.parametrize(
    ("file", "text", "state"),
    [
        (".lock", "ME HERE", RUNNING), (".lock", "999999999 HERE", INTERRUPTED),
        (".lock", "1 another-host", RUNNING), (".lock", "", INTERRUPTED), ("config.yaml", "layers: [", UNREADABLE),
        ("config.yaml", "- 1", UNREADABLE), ("summary.json", '{"hypo', UNREADABLE), ("summary.json", "{}", FINISHED),
    ],
)  # fmt: skip
def test_a_run_has_a_state_whatever_is_in_it(file, text, state, here):
    text = text.replace("ME", str(os.getppid())).replace("HERE", socket.gethostname())
    (make(here / "runs" / "x") / file).write_text(text)
    assert Found.at(here / "runs" / "x").state == state
    assert main([]) == main(["ls"]) == 0


def test_ls_is_a_table_or_data(several, capsys):
    assert main(["ls"]) == 0
    head, ioi, demo = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "task", "network", "cells", "verdicts", "when"]
    assert "runs/smollm2/ioi  price_tagging  price-tagger-tiny  5      interrupted" in ioi
    assert "2 partly, 1 not above the null" in demo
    assert main(["ls", "runs", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["cells"] for run in told] == [5, 2]
    assert told[1]["verdicts"] == {"partly": 2, "not above the null": 1}
    assert main(["ls", "absent"]) == 0
    assert capsys.readouterr().out == "no runs in absent\n"


def test_ls_says_verdicts_in_full_and_where_pages_lie(several, capsys):
    (several / "runs" / "demo" / "report.html").touch()
    assert main(["ls", "--verdicts"]) == 0
    demo, ioi = capsys.readouterr().out.strip().split("\n\n")  # the latest first
    assert ioi == "runs/smollm2/ioi: interrupted"
    head, *sentences = demo.splitlines()
    assert head == "runs/demo: runs/demo/report.html"
    assert sentences == ["  h0: partly; IIA 0.9.", "  h1: not above the null; IIA 0.9.", "  h2: partly; IIA 0.9."]


def test_das_alone_says_what_there_is_and_what_is_next(several, capsys):
    (several / "models" / "mine").mkdir(parents=True)
    (several / "models" / "mine" / "config.json").write_text("{}")
    main(["new", "mine"])
    capsys.readouterr()
    assert main([]) == 0
    out = capsys.readouterr().out
    tasks, *others, next_ = out.split("\n\n")[1].splitlines()
    assert tasks.split()[:2] == ["tasks", "mine,"]
    assert any(line.endswith("models/mine") for line in others)
    assert next_.split("   ")[-2].strip().endswith(go_on("runs/smollm2/ioi"))


def test_an_interrupted_run_goes_on_by_the_command_that_is_named(here, capsys):
    words = shlex.split(go_on(make(here / "runs" / "a b")))
    assert words[0] == "das"
    with pytest.raises(SystemExit):
        main([*words[1:], "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["task"] == "price_tagging"


def test_names_of_networks_are_those_that_load(here):
    assert networks() == names()


def test_a_folder_says_what_it_is(here):
    text = about(here / "runs" / "x", "t", "l")
    assert go_on(here / "runs" / "x") in text
    assert README not in text
    assert max(map(len, text.replace(str(here), "").splitlines())) <= 128


def test_a_finished_run_says_what_is_next_and_how_to_tell_what_is_not_identifiable():
    summary = {"hypotheses": {"my sum": {"verdict": {"verdict": "supported"}}}}
    words = [shlex.split(line.partition("  ")[2]) for line in onward("runs/x y", "t", summary).splitlines()[1:]]
    assert [each[:3] for each in words] == [["das", name, "runs/x y"] for name in ("report", "apply", "look")]
    assert words[2][3] == "my sum"
    summary["hypotheses"]["other"] = {"verdict": {"verdict": "not identifiable"}}
    assert "das identify t" in onward("runs/x y", "t", summary)


def test_how_good_is_good_enough_is_said_when_a_network_was_fitted(monkeypatch, capsys):
    for share, word in ((0.5, "is not enough for a run"), (1.0, "is enough for a run")):
        monkeypatch.setattr("das.run.fit.fit", lambda settings, report, share=share: {"base": share})
        assert main(["fit-lm", "arithmetic", "--out", "new"]) == 0
        said = capsys.readouterr().out
        assert f"{share:.3f} {word}" in said
        assert ("--steps" in said) == (share < 1)


# --- shipped tasks ---


def test_shipped_tasks_are_found_from_anywhere_and_own_ones_come_first(here):
    assert {path.stem for path in (ROOT / "tasks").glob("*.py")} <= set(candidates(["run", ""]))
    assert load_task("arithmetic").name == "arithmetic"
    main(["new", "arithmetic"])
    assert set(load_task("arithmetic").hypotheses) != set(load_task(ROOT / "tasks" / "arithmetic.py").hypotheses)


# --- completion ---


COMPLETED = {
    "": [*COMMANDS, "--help", "--version"],
    "pl": ["plan", "plot"],
    "run pri": ["price_tagging"],
    "run x --chosen": ["--chosen_seeds"],
    "run x --lm price": ["price-tagger-smollm2", "price-tagger-tiny"],
    "run x --only-correct t": ["true"],
    "run x --only_correct t": ["true"],
    "plot runs/d": ["runs/demo"],
    "completion f": ["fish"],
    "run x --out ": [],
    "rnu ": [],
    "plot runs/demo ": [],
    "ls --j": ["--json"],
    "look runs/demo ": ["0", "1", "2", "0", "1"],
}


@pytest.mark.parametrize("line", COMPLETED)
def test_tab_completes(line, several):
    assert candidates(line.split(" ")) == COMPLETED[line]


def test_bash_completes_with_what_das_prints(several):
    script = f"""das() {{ {sys.executable} -m das "$@"; }}
{SCRIPTS["bash"]}
COMP_WORDS=(das plot runs/d) COMP_CWORD=2
_das
echo "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["runs/demo"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_is_given_its_script(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "das __complete" in capsys.readouterr().out


def test_an_unknown_shell_is_named(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "unknown shell 'tcsh'" in capsys.readouterr().err
