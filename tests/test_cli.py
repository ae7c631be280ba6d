"""The command line: a command says what is wrong in one line and leaves nothing behind."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from conftest import ROOT

from das import __version__
from das.cli import main
from das.commands.groups import REST, grouped
from das.commands.registry import COMMANDS
from das.ground.checks import fitted
from das.run.fit import variants
from das.run.fit_settings import FitSettings
from das.run.settings import Settings, check_keys, read_yaml
from das.task.files import load_task
from das.use.template import TASK as TEMPLATE

DRAWS = True
"""The files that runs draw are looked at."""

TASK = str(ROOT / "tasks" / "price_tagging.py")
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
HEAVY = {"torch", "transformers", "pytorch_lightning", "pyvene", "pandas", "matplotlib", "numpy"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def failed(capsys, here):
    """Runs a command that must fail: status 2, one line that begins with `das:`, nothing written; gives that line."""

    def run(*arguments):
        before = sorted(here.rglob("*"))
        assert main(list(map(str, arguments))) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("das: ")
        assert err.count("\n") == 1
        assert sorted(here.rglob("*")) == before
        return err

    return run


@pytest.fixture
def model(tokenizer, here):
    """A folder with a tokenizer and no weights."""
    from transformers import LlamaConfig

    tokenizer.save_pretrained(here / "model")
    LlamaConfig(vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=2, num_attention_heads=2).save_pretrained(
        here / "model"
    )
    return "model"


# --- what needs no weights loads no torch ---


@pytest.mark.parametrize(
    ("arguments", "light"),
    [
        (["--help"], HEAVY),
        (["--version"], HEAVY),
        (["rnu"], HEAVY),
        (["new", "mine"], HEAVY),
        (["run", "--lmm", "x"], HEAVY),
        ([], HEAVY),
        (["ls"], HEAVY),
        (["completion", "bash"], HEAVY),
        *((["__complete", command, "--"], HEAVY) for command in ("run", "check", "shift")),
    ],
)
def test_command_loads_no_heavy_module(arguments, light, here):
    script = f"import sys; from das.cli import main; main({arguments}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True, check=True)
    assert not light & set(done.stdout.split())


def test_module_runs_as_the_command(here):
    done = subprocess.run([sys.executable, "-m", "das", "--version"], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"  das {command} " in out for command in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: das {command} ")
    assert COMMANDS[command].function.__doc__.split("\n")[0].split(".")[0][:40] in " ".join(out.split())


# --- wrong words name the nearest ---

WORDS = {
    "chekc": "unknown command 'chekc': did you mean 'check'? Known: new, check",
    "run TASK --lm x --layer 0": "unknown option '--layer': did you mean '--layers'? All of them: das run --help",
    "run TASK --lm x --chosen-seds 1": "unknown option '--chosen-seds': did you mean '--chosen_seeds'?",
    "plan TASK --sed=3": "unknown option '--sed': did you mean '--seed'?",
    "check TASK --positon last": "unknown option '--positon': did you mean '--positions'?",
    "check TASK --pos last": "unknown option '--pos'",
    "fit-lm TASK --widht 8": "unknown option '--widht': did you mean '--width'?",
    "check TASK -z": "unrecognized arguments: -z. See: das check --help",
    "check TASK more": "unrecognized arguments: more. See: das check --help",
    "run TASK --lm x --seeds many": "seeds is 'many': expected a whole number",
    "run TASK --lm x --steps 0": "steps is 0: expected at least 1",
    "run TASK --lm x --only_correct perhaps": "only_correct",
    "run TASK --lm x --layers most": "layers is 'most': expected all, or a list such as [0, 5, 10]",
    "run": "required: task, lm. See: das run --help",
    "check": "required: task. See: das check --help",
    "plan TASK": "required: lm",
    "new": "required: name",
    "new my-task": "'my-task' is no name for a task: use letters, digits and underscores",
    "check price": "no task file at tasks/price.py: unknown task 'price'",
    "run my/own.py --lm x": "no task file at my/own.py",
    "fit-lm absent": "no task file at tasks/absent.py",
    "check TASK --lm ./absent": "no model at ./absent: give a folder, a GGUF file, a hub id or one of:",
    "check TASK --lm absent.gguf": "no GGUF file at absent.gguf",
    "check TASK --lm .": "folder . holds no config.json: expected a saved Hugging Face model",
    "run absent.yaml": "no configuration at absent.yaml",
    "plot runs/absent": "runs/absent is no run folder",
    "plot .": ". is no run folder",
}


@pytest.mark.parametrize("line", WORDS)
def test_wrong_command_says_what_is_wrong_in_one_line(line, failed):
    assert WORDS[line] in failed(*line.replace("TASK", TASK).split())


KINDS = {
    "nestd": "unknown kind of subspace 'nestd': did you mean 'nested'?",
    "nested:tolerence=1": "unknown setting of nested 'tolerence': did you mean 'tolerance'?",
    "nested:k": "setting 'k' of a subspace: expected name=value",
    "nested:k=2.5": "nested.k is '2.5': expected a whole number",
    "fixed:lr=fast": "fixed.lr is 'fast': expected a number",
    "fixed:k=0": "fixed.k is 0: expected at least 1",
    "full:k=3": "unknown setting of full 'k'. Known: none",
}


@pytest.mark.parametrize("option", ["--subspace {}", "--beside [{!r}]", "--beside {}"])
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_kind_of_subspace_says_what_is_wrong_in_one_line(kind, option, failed):
    assert KINDS[kind] in failed("run", TASK, "--lm", "x", *option.format(kind).split())


def test_network_is_not_written_where_something_is_already(failed, here):
    (here / "out").mkdir()
    assert "out exists already: give another folder, or remove it" in failed("fit-lm", TASK, "--out", "out")


FILES = {
    "unknown key": ("layer: all", "unknown setting in run.yaml: 'layer': did you mean 'layers'?"),
    "wrong type": ("batch: big", "batch is 'big': expected a whole number"),
    "no list": ("beside: {k: 1}", "beside is {'k': 1}: expected a list of values"),
    "no list of texts": ("positions: true", "positions is True: expected a list of texts"),
    "no list of layers": ("layers: [[1]]", "layers is [[1]]: expected a text or a list of whole numbers or texts"),
    "unknown kind": ("subspace: {kind: nestd}", "unknown kind of subspace 'nestd': did you mean 'nested'?"),
    "no kind": ("subspace: {k: 3}", "unknown kind of subspace ''"),
    "setting of a kind": ("beside: [{kind: nested, kk: 1}]", "unknown setting of nested 'kk': did you mean 'k'?"),
    "no YAML": ("layers: [", "run.yaml is not valid YAML"),
    "no mapping": (None, "run.yaml: expected a mapping of settings, found list"),
}


@pytest.mark.parametrize(
    ("given", "hint", "listed"),
    [("last", list[str], ["last"]), (2, str | list[int | str], [2]), ("nested", list[Any], ["nested"])],
)
def test_one_value_stands_for_a_list_of_one(given, hint, listed):
    assert fitted("setting", given, hint) == fitted("setting", listed, hint) == listed


def test_names_may_stand_in_one_text_with_commas_between_them():
    assert Settings("t", "x", hypotheses="one, two", positions="a.last,last").hypotheses == ["one", "two"]


@pytest.mark.parametrize("name", FILES)
def test_wrong_settings_file_says_what_is_wrong_in_one_line(name, failed, here):
    line, message = FILES[name]
    (here / "run.yaml").write_text(f"task: t\nlm: x\n{line}\n" if line else "- task\n")
    assert message in failed("run", "run.yaml")


RAW = {
    "number for a kind": ["run", TASK, "--lm", "x", "--subspace", "5"],
    "list for a kind": ["run", "list.yaml"],
    "binary for settings": ["run", "binary.yaml"],
    "file for a folder": ["new", "mine", "--folder", "list.yaml"],
    "no layers": ["plan", TASK, "--lm", "model", "--layers", "[]"],
    "here for the network": ["fit-lm", TASK, "--out", "."],
}


@pytest.mark.parametrize("name", RAW)
def test_odd_arguments_are_an_error_for_people(name, failed, here, model):
    (here / "list.yaml").write_text("task: t\nlm: x\nsubspace: [1]\n")
    (here / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    failed(*RAW[name])


def test_unknown_key_of_a_config_option_names_the_nearest(failed, here):
    (here / "run.yaml").write_text("task: t\nlm: x\nlayer: all\n")
    assert "did you mean 'layers'?" in failed("run", "--config", "run.yaml")


# --- a first task ---


def test_a_new_task_is_written_once(here, capsys, failed):
    assert main(["new", "mine"]) == 0
    assert "das fit-lm tasks/mine.py" in capsys.readouterr().out
    written = (here / "tasks" / "mine.py").read_text()
    assert "tasks/mine.py exists already: choose another name" in failed("new", "mine")
    assert (here / "tasks" / "mine.py").read_text() == written


def test_misspelt_task_names_the_nearest(here, failed):
    (here / "tasks").mkdir()
    (here / "tasks" / "apples.py").write_text(TEMPLATE)
    assert "unknown task 'aples': did you mean 'apples'? Known: apples" in failed("check", "aples")


def test_check_shows_a_prompt_with_its_positions(model, capsys):
    assert main(["check", TASK, "--lm", model, "--positions", "[amount.last, amount+1, last]", "--accuracy", "false"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("⟧ ⟦dollars⟧") for line in lines)
    assert "  amount+1     'dollars'" in lines
    assert "  last         '\\n'" in lines
    assert lines[-1] == "price_tagging: sound with the tokenizer of model"


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ("amout.last", "'amout': did you mean 'amount'?"),
        ("last+1", "prompt: position 'last+1' lies outside the prompt of"),
        ("amount.middle", "position 'amount.middle' cannot be read: write amount.last"),
    ],
)
def test_check_refuses_a_position_that_is_not_there(position, message, model, failed):
    assert message in failed("check", TASK, "--lm", model, "--positions", f"[{position}]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "[0, 2]"], "layer 2 does not exist: model has layers 0 to 1"),
        (["--hypotheses", "[midpiont]"], "unknown hypothesis 'midpiont': did you mean 'midpoint'?"),
        (["--positions", "[last-1..first]"], "range 'last-1..first': expected two offsets from the same place"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_settings_that_the_task_or_the_network_cannot_meet_write_nothing(command, options, message, model, failed):
    assert message in failed(command, TASK, "--lm", model, *options)


def test_unknown_family_is_found_before_weights_are_loaded(model, failed):
    assert "did you mean 'flip'?" in failed("plan", TASK, "--lm", model, "--families", "{flop: 1.0}")


def test_plan_says_what_a_run_costs_without_weights(model, capsys, here):
    before = sorted(here.rglob("*"))
    assert main(["plan", TASK, "--lm", model, "--positions", "[last, amount.last]", "--seeds", "2"]) == 0
    assert "cells        32 in the grid" in capsys.readouterr().out
    assert sorted(here.rglob("*")) == before


# --- shipped settings ---


def test_settings_are_shipped():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_shipped_settings_fit_the_settings_class_and_its_types(path, capsys, monkeypatch):
    fits = path.parent.name == "fit"
    values, cls = read_yaml(path), FitSettings if fits else Settings
    check_keys(values, cls, str(path), also=("out",))
    given = {key: value for key, value in values.items() if fits or key != "out"}
    settings = cls(**given)
    monkeypatch.chdir(ROOT)
    task = load_task(settings.task)
    assert {name for phase in getattr(settings, "mix", {}).values() for name in phase} <= set(variants(task))
    with pytest.raises(SystemExit) as stop:
        main(["fit-lm" if fits else "run", str(path), "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert {key: printed[key] for key in values} == values


# --- the registry ---


EVERY = pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))


@EVERY
def test_a_command_needs_what_the_list_of_commands_says(command):
    needed = [o.name for o in command.options() if o.needed]
    if command.settings:
        assert (command.operands, needed[0]) == ("TASK|YAML", "task")
    else:
        assert [place.lower() for place in command.operands.split() if place[0] != "["] == needed
        assert set(command.places) <= {o.name for o in command.options()}


@EVERY
def test_every_option_has_a_sentence_under_a_heading(command, capsys):
    for option in command.options():
        assert len(option.about.split()) >= 3, option
        assert option.about.endswith("."), option
    names = [option.name for _, options in grouped(command.options(), command.settings) for option in options]
    assert sorted(names) == sorted(option.name for option in command.options())
    assert REST not in dict(grouped(command.options(), command.settings))
    with pytest.raises(SystemExit):
        main([command.name, "--help"])
    out = capsys.readouterr().out
    assert all(f"\n  --{name}" in out for name in names)


def test_options_may_be_written_with_dashes(capsys):
    with pytest.raises(SystemExit):
        main(["run", TASK, "--lm", "x", "--chosen-seeds", "7", "--train_pairs=9", "--val-pairs=8", "--print-config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["chosen_seeds"], printed["train_pairs"], printed["val_pairs"]) == (7, 9, 8)


def test_tables_are_told_as_data_too(capsys, here):
    for words in ([], ["--json", "tables.json"], ["--json"], ["--json", "-"]):
        assert main(["identify", TASK, "--pairs", "200", *words]) == 0
    out = capsys.readouterr().out
    tables = (here / "tables.json").read_text()
    text, told = out[: out.index("{")], out[out.index("{") :]
    assert told == 2 * tables
    assert text[: len(text) // 2] == text[len(text) // 2 :]
    assert json.loads(tables)
