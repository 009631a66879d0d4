"""Imports go downwards, stand at the top of their files, and no two modules import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

HIDDEN = {
    ("lab.study.catalogue", "lab.study.experiment"): "for type checkers: a list of experiments needs no torch",
    ("lab.study.experiment", "lab.study.lab"): "for type checkers: an experiment is measured in a lab",
    ("lab.__main__", "lab.cli"): "Ctrl-C during these imports ends in silence",
    ("lab.commands.terminal", "lab.figures"): "for type checkers: pandas and plotly, for those who draw",
    ("lab.commands.drawn", "lab.figures"): "for type checkers: pandas and plotly, for those who draw",
    **{
        ("lab.drawing", room): "for type checkers: what is drawn is known by its name"
        for room in ("lab.geometry", "lab.geometry.collections", "lab.linalg", "lab.statistics", "lab.training")
    },
    ("lab.figures.registry", "lab.figures.definition"): "for type checkers",
    ("lab.figures.grammar.page", "lab.figures.grammar.grid"): "for type checkers: a grid hands itself to its parts",
    ("lab.figures.grammar.reach", "lab.figures.grammar.grid"): "for type checkers",
    ("lab.figures.grammar.page", "lab.figures.grammar.panel"): "for type checkers",
    ("lab.figures.grammar.legend", "lab.figures.grammar.grid"): "for type checkers",
    ("lab.figures.grammar.panel", "lab.figures.grammar.grid"): "for type checkers",
}
"""First-party imports inside a function, or for type checkers alone, and why: nothing else may hide one."""

BY_STRING = {
    "lab": "the names one starts with are imported when they are used",
    "lab.deferred": "packages that take long to import",
    "lab.deltas.further": "methods are found by being there",
    "lab.cli": "a command imports what it runs, not what the others run",
    "lab.commands.claims": "the command line imports plotly when a command needs it",
    "lab.commands.collection": "the command line imports torch when a command needs it",
    "lab.commands.paper": "the command line imports torch when a command needs it",
    "lab.commands.spectra": "the command line imports torch when a command needs it",
    "lab.figures": "a figure is loaded when it is drawn",
    "lab.figures.registry": "figures are found by name",
    "lab.study": "its names bring torch when they are used",
    "lab.study.catalogue": "experiments are found by name",
    "lab.execution.ray": "ray may not be installed; a worker imports what it keeps",
}
"""Modules that import by a string, and why; `find_spec` and packages of others are not counted."""


LAZY = ("lab", "lab.figures", "lab.study")
"""Packages whose names are imported when they are used; what they import for type checkers hides nothing."""


def modules() -> dict[str, ast.Module]:
    """Module name -> its syntax tree, for every file of lab/."""
    paths = (ROOT / "lab").rglob("*.py")
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    return {name: ast.parse(path.read_text()) for name, path in named.items()}


MODULES = modules()


def imported(node: ast.AST) -> list[str]:
    """The modules of lab/ that one import statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "lab"]
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lab":
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else str(node.module) for name in whole]
    return []


def imports(tree: ast.AST, hidden: bool = False) -> Iterator[tuple[str, bool]]:
    """(module imported, whether inside a function or for type checkers alone)."""
    for node in ast.iter_child_nodes(tree):
        yield from ((name, hidden) for name in imported(node))
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        yield from imports(node, hidden or function or for_types)


def test_imports_stand_at_the_top():
    found = {(module, name) for module, tree in MODULES.items() for name, hidden in imports(tree) if hidden}
    found = {(module, name) for module, name in found if module not in LAZY}
    assert found <= HIDDEN.keys()


def test_no_cycles():
    """Imports inside functions and for type checkers count, but for those listed: a cycle hidden there is a cycle."""
    graph = {
        module: {name for name, _ in imports(tree) if name != module and (module, name) not in HIDDEN}
        for module, tree in MODULES.items()
    }
    graph |= {module: set() for module in LAZY}
    cycles = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            cycles.append(path[path.index(module) :])
            return
        if module in done:
            return
        for name in sorted(graph.get(module, ())):
            visit(name, (*path, module))
        done.add(module)

    done: set[str] = set()
    for module in sorted(graph):
        visit(module, ())
    assert cycles == []


def by_string(tree: ast.Module) -> bool:
    """Whether a module imports another of lab/, or one it is told, by its name as a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            argument = node.args[0] if node.args else None
            if not isinstance(argument, ast.Constant) or str(argument.value).split(".")[0] == "lab":
                return True
    return False


def test_imports_by_string_are_known():
    assert {module for module, tree in MODULES.items() if by_string(tree)} <= BY_STRING.keys()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from lab.linalg import Matrix", [("lab.linalg", False)]),
        ("def f():\n    import lab.linalg.operator", [("lab.linalg.operator", True)]),
        ("if TYPE_CHECKING:\n    from lab.linalg import operator", [("lab.linalg.operator", True)]),
        ("import torch", []),
    ],
)
def test_what_is_hidden_is_found(source, expected):
    assert list(imports(ast.parse(source))) == expected
    assert by_string(ast.parse("import_module('lab.linalg')"))
    assert not by_string(ast.parse("import_module('peft')"))
