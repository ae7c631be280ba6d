"""A wing imports only from wings below it, and inside a wing there are no circles."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import das

WINGS = [
    "ground", "causal", "task", "network", "pairs", "interchange", "find", "circuits", "edit", "judge", "planted", "run", "transfer", "draw", "use", "commands",
]  # fmt: skip
"""From below. Under all of them lie the modules of `GROUND`, above them `cli` and `__main__`."""

GROUND, TOP = ["errors", "text", "stats", "progress", "memory"], ["cli", "__main__"]

LAZY = {("causal.model", "draw.dag"), ("run.experiment", "use.run")}
"""A DAG draws itself, an experiment ends with the run that a person holds: both import what they need when called."""

PACKAGE = Path(das.__file__).parent
FLOOR = {name: floor for floor, name in enumerate(["__init__", *GROUND, *WINGS, *TOP])}
MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.glob("**/*.py")}
ROOMS = {name: path for name, path in MODULES.items() if not name.endswith("__init__")}


def imported(tree, lazy=False):
    """(das module, whether it is imported inside a function), leaving out `if TYPE_CHECKING:` blocks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name[4:], lazy) for alias in node.names if alias.name.startswith("das."))
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the module"
            if f"{node.module}.".startswith("das."):
                yield from ((_module(node.module[4:], alias.name), lazy) for alias in node.names)
        else:
            yield from imported(node, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _module(base, name):
    """What `from das.base import name` loads: a module, or a name of one."""
    inner = f"{base}.{name}".lstrip(".")
    return inner if inner in MODULES else base or "__init__"


def wing(module):
    return module.split(".")[0]


def imports_of(module):
    return set(imported(ast.parse(ROOMS[module].read_text())))


def test_the_house_has_the_wings_that_are_listed():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(WINGS)
    assert {name for name in ROOMS if "." not in name} == {*GROUND, *TOP}


@pytest.mark.parametrize("module", sorted(ROOMS))
def test_a_module_imports_only_from_its_wing_and_those_below(module):
    for other, lazy in imports_of(module):
        if not (lazy and (module, other) in LAZY):
            assert FLOOR[wing(other)] <= FLOOR[wing(module)], f"das.{module} imports das.{other}, which lies above it"
        assert other in ROOMS or other == "__init__", f"das.{module} imports the wing das.{other}: name the module"


@pytest.mark.parametrize("name", ["", *WINGS])
def test_there_is_no_circle_inside(name):
    """Lazy imports count: they hide a circle, they do not open it. name: of a wing, or of none for what lies outside them."""
    inside = {m for m in ROOMS if (wing(m) if "." in m else "") == name}
    graph = {m: {other for other, _ in imports_of(m)} & inside for m in inside}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


@pytest.mark.parametrize(("module", "other"), sorted(LAZY))
def test_every_exception_is_needed_and_lazy(module, other):
    assert (other, True) in imports_of(module)
    assert (other, False) not in imports_of(module)
    assert FLOOR[wing(other)] > FLOOR[wing(module)]


@pytest.mark.parametrize("name", ["", *WINGS])
def test_public_names_are_where_they_are_said_to_be(name):
    package = das if not name else __import__(f"das.{name}", fromlist=[name])
    assert package.__doc__
    for public in package.__all__:
        assert getattr(package, public) is not None
        assert f"{name}.{public}".lstrip(".") not in MODULES, "a module of this name would hide it"
    with pytest.raises(AttributeError, match="no attribute 'Rnage'"):
        package.Rnage  # noqa: B018


def test_the_reader_of_imports_sees_what_it_should():
    text = """
import das.network.lm, os
from das import Range, errors
from das.find import stack
from das.task.task import Task
if TYPE_CHECKING:
    from das.use.run import Run
class Late:
    def draw(self):
        from das.draw.dag import dag
        if dag:
            import das.run.plan
"""
    found = set(imported(ast.parse(text)))
    top = {(module, False) for module in ("network.lm", "__init__", "errors", "find.stack", "task.task")}
    assert found == top | {("draw.dag", True), ("run.plan", True)}
