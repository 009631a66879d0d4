"""Which experiments there are: found in the folder `experiments`, listed without importing them (they bring torch)."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lab.plugins import offered

if TYPE_CHECKING:
    from lab.study.experiment import Experiment

SCALES = ("smoke", "demo", "paper")
View = Literal["run", "optimisation", "methods", "control"]
VIEWS: tuple[View, ...] = ("run", "optimisation", "methods", "control")
"""Themes, in the order of lists."""

_PACKAGES = ("lab.study.training_run", "experiments")
"""The module of the training run, and the package of all other experiments."""

_ASSIGNED = re.compile(r"^\w+(?:: [^=\n]+)? = Experiment\((?:.*\)$|\n(?:(?!\)).*\n)*\).*$)", re.MULTILINE)
"""At the margin, and closed on the same line or at the margin."""


@dataclass(frozen=True)
class Outline:
    """What a list says of an experiment.

    Attributes:
        name: of its jobs.
        module: where it is defined.
        question: what it asks.
        figures: names of its figures.
        view: its theme.
        scaled: whether it has scales of its own; others are parts of experiments.
        replicates: settings that its answers are repeated over, as far as they are written as literals.
    """

    name: str
    module: str
    question: str
    figures: tuple[str, ...]
    view: View
    scaled: bool
    replicates: tuple[str, ...] = ()


@cache
def outlines() -> tuple[Outline, ...]:
    """Every experiment, by theme and name; those that are parts of others last in each."""
    found = [outline for module, path in _sources() for outline in _in(module, path)]
    return tuple(sorted(found, key=lambda o: (VIEWS.index(o.view), not o.scaled, o.name)))


def experiment_names() -> tuple[str, ...]:
    """The names one can run at a scale."""
    return tuple(outline.name for outline in outlines() if outline.scaled)


def outline_of(name: str) -> Outline:
    """The outline of a name; ``-`` and ``_`` are the same.

    Raises:
        ValueError: there is none; a near name and the choices are shown.
    """
    wanted = name.replace("-", "_")
    for outline in outlines():
        if outline.name == wanted:
            return outline
    near = get_close_matches(wanted, [outline.name for outline in outlines()], 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown experiment {name!r}; {hint}choose one of: {', '.join(experiment_names())}")


def load_experiment(name: str) -> Experiment[Any]:
    """The experiment of a name, imported.

    Raises:
        ValueError: there is none.
    """
    outline = outline_of(name)
    values = vars(importlib.import_module(outline.module)).values()
    return next(value for value in values if getattr(value, "name", None) == outline.name and hasattr(value, "measure"))


def experiment_drawing(figure: str) -> str | None:
    """The first experiment that names this figure."""
    return next((outline.name for outline in outlines() if figure in outline.figures), None)


def question(name: str) -> str:
    """What an experiment asks; "" for names that there are not."""
    return next((outline.question for outline in outlines() if outline.name == name), "")


def _sources() -> Iterator[tuple[str, Path]]:
    """Module and file of everything that may define an experiment."""
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield from ((f"{name}.{path.stem}", path) for path in sorted(Path(folder).glob("[!_]*.py")))
        if spec is not None and spec.submodule_search_locations is None and spec.origin is not None:
            yield name, Path(spec.origin)
    for point in offered("experiments"):
        spec = importlib.util.find_spec(point.value)
        if spec is not None and spec.origin is not None:
            yield point.value, Path(spec.origin)


def _in(module: str, path: Path) -> Iterator[Outline]:
    """The calls ``Experiment(name=…, …)`` of a file, as far as they are literal."""
    for statement in _assignments(path.read_text(encoding="utf-8")):
        call = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Experiment":
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        said = {name: _literal(given.get(name)) for name in ("name", "question", "figures", "view")}
        yield Outline(
            str(said["name"]), module, str(said["question"] or ""), tuple(said["figures"] or ()),
            said["view"] or "methods", "scales" in given, _texts(given.get("replicates")),
        )  # fmt: skip


def _assignments(source: str) -> list[ast.stmt]:
    """The statements ``NAME = Experiment(…)``, cut out before they are parsed: whole files take a third of a second."""
    try:
        return [statement for found in _ASSIGNED.finditer(source) for statement in ast.parse(found.group()).body]
    except SyntaxError:  # one that is laid out in another way
        return ast.parse(source).body


def _texts(value: ast.expr | None) -> tuple[str, ...]:
    """The texts of a tuple, without what it takes from elsewhere."""
    entries = value.elts if isinstance(value, ast.Tuple) else []
    return tuple(e.value for e in entries if isinstance(e, ast.Constant) and isinstance(e.value, str))


def _literal(value: ast.expr | None) -> Any:
    return None if value is None else ast.literal_eval(value)
