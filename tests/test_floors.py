"""A module imports only from floors below it."""

import ast
from pathlib import Path

import pytest

import das

FLOORS = [
    ["__init__", "errors", "template", "progress", "text", "signals", "quiet"],
    ["checks", "plain", "device", "endings", "storage", "seeding"],
    ["columns", "kinds", "options", "workers", "site", "attention", "memory", "stats", "verdict", "named"],
    ["domains", "taps", "standins", "adapter", "lock", "mend", "scan"],
    ["causal", "prompt", "subspace", "settings"],
    ["shifts", "asking"],
    ["identity"],
    ["task", "tokenizer", "blocks", "limits"],
    ["lm"],
    ["rivals", "engine", "planted", "provenance"],
    ["equality", "held", "selftest", "trained"],
    ["sums"],
    ["hops"],
    ["structures"],
    ["pairs"],
    ["identify", "failures", "trials"],
    ["audit", "dataset", "interop", "captures", "upstream"],
    ["alignment", "batch", "budget", "decoding"],
    ["score"],
    ["rank"],
    ["grid", "manifold", "reading", "screen"],
    ["evaluate", "evidence"],
    ["train", "run", "material", "nulls"],
    ["summary", "scored", "check", "outcome"],
    ["plot_evidence", "maps"],
    ["robustness"],
    ["layout", "fit", "plot", "paper"],
    ["work", "plan", "plot_shift"],
    ["experiment"],
    ["transfer"],
    ["cli"],
    ["__main__"],
]
"""From the ground up. `__init__` stands on nothing: it loads a public name's module when the name is asked for."""

LAZY = {("causal", "plot"), ("run", "plot"), ("run", "plot_shift"), ("run", "robustness"), ("run", "transfer")}
"""Pictures, and what is done with a finished run, are methods that import what they need when they are called."""

PACKAGE = Path(das.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def imported(tree, top=True):
    """(das module, whether it is imported at the top of the file), leaving out `if TYPE_CHECKING:` blocks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[1], top) for alias in node.names if alias.name.startswith("das."))
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the module"
            if node.module == "das":
                yield from ((alias.name if alias.name in MODULES else "__init__", top) for alias in node.names)
            elif node.module.startswith("das."):
                yield node.module.split(".")[1], top
        else:
            yield from imported(node, top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports_of(module):
    return set(imported(ast.parse((PACKAGE / f"{module}.py").read_text())))


def test_every_module_has_one_floor():
    listed = [module for modules in FLOORS for module in modules]
    assert sorted(listed) == MODULES, "give a new module its floor in FLOORS"


@pytest.mark.parametrize("module", FLOOR)
def test_module_imports_only_from_floors_below(module):
    for other, top in imports_of(module):
        lazy = not top and (module, other) in LAZY
        assert lazy or FLOOR.get(other, len(FLOORS)) < FLOOR[module], (
            f"das.{module} imports das.{other}, which is not on a lower floor"
        )


@pytest.mark.parametrize(("module", "other"), sorted(LAZY))
def test_every_exception_is_needed_and_lazy(module, other):
    assert (other, False) in imports_of(module)
    assert (other, True) not in imports_of(module)
    assert FLOOR[other] >= FLOOR[module]


def test_public_names_are_where_they_are_said_to_be():
    for name in das.__all__:
        assert getattr(das, name) is not None
    assert set(das._HOME.values()) <= set(MODULES)
    with pytest.raises(AttributeError, match="no attribute 'Rnage'"):
        das.Rnage  # noqa: B018


def test_the_reader_of_imports_sees_what_it_should():
    text = """
import das.lm, os
from das import settings, Range
from das.task import Task
if TYPE_CHECKING:
    from das.run import Run
class Late:
    def draw(self):
        from das.plot import dag
        if dag:
            import das.plan
"""
    found = set(imported(ast.parse(text)))
    top = {(module, True) for module in ("lm", "settings", "__init__", "task")}
    assert found == top | {("plot", False), ("plan", False)}
