"""What an experiment is, and how one is found by name.

An experiment is a module ``experiments/<name>.py``, listed in ``experiments.EXPERIMENTS``. It is imported only when it
is needed, because it brings torch with it. ``deltalab run`` makes these calls::

    records = engine.run(module.jobs(scale, **options), module.measure, label=…)
    print(module.summary(store, records))        # without a `summary`: the table of metrics
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from lab.execution.commands import commands_of
from lab.runs import Damaged, Job, Record, Records, Store, canonical
from lab.statistics import Verdict

SCALES = ("smoke", "demo", "paper")

_PACKAGE = "experiments"


class Experiment(Protocol):
    """One question, as a module. Its docstring says Question · Source · Varied · Tuned · Fixed · Expected · Cost."""

    NAME: str
    """Name of the module and of its jobs' experiment."""

    FIGURES: tuple[str, ...]
    """Names of the figures (`lab.figures`) that draw its tables."""

    jobs: Callable[..., list[Job]]
    """``jobs(scale, *, option=default, …)``: what to measure at a scale. Options are keyword-only and annotated with
    str, int, float, bool, tuples of them, or None; each becomes an option of ``deltalab run``."""

    measure: Callable[[Job, Store], Record]
    """A pure function of the job; it may read the store, and run child jobs with an engine of its own."""

    # What a module may define beside these:
    #   summary(store, records) -> str                what a person wants to read at the end of the run
    #   verdicts(records) -> list[Verdict]            what records of one setting say of the claims the experiment tests
    #   REPLICATES: tuple[str, ...]                   names of what may differ in the configs of one setting's records


def experiment_names() -> tuple[str, ...]:
    """The names one can run, without importing the experiments."""
    return tuple(importlib.import_module(_PACKAGE).EXPERIMENTS)


def load_experiment(name: str) -> Experiment:
    """The experiment of a name; ``-`` and ``_`` are the same.

    Raises:
        ValueError: there is none; the choices are listed.
    """
    chosen = name.replace("-", "_")
    if chosen not in experiment_names():
        raise ValueError(f"unknown experiment {name!r}; choose one of: {', '.join(experiment_names())}")
    return cast(Experiment, importlib.import_module(f"{_PACKAGE}.{chosen}"))


def question(name: str) -> str:
    """What an experiment asks: the line ``Question: …`` of its docstring, without importing it."""
    found = re.search(r"^Question: (.*)$", ast.get_docstring(_syntax(name)) or "", re.MULTILINE)
    return found.group(1) if found else ""


def experiment_drawing(figure: str) -> str | None:
    """The first experiment whose tables this figure draws (its ``FIGURES`` names it), without importing any."""
    for name in experiment_names():
        for statement in _syntax(name).body:
            if not isinstance(statement, ast.Assign) or ast.unparse(statement.targets[0]) != "FIGURES":
                continue
            if figure in ast.literal_eval(statement.value):
                return name
    return None


def _syntax(name: str) -> ast.Module:
    spec = importlib.util.find_spec(f"{_PACKAGE}.{name}")
    source = Path(spec.origin).read_text(encoding="utf-8") if spec is not None and spec.origin is not None else ""
    return ast.parse(source)


def summarized(experiment: Experiment, store: Store, records: Sequence[Record]) -> str | None:
    """The experiment's own words on its records: ``summary(store, records)``, or None where it defines no summary."""
    summary: Callable[[Store, Sequence[Record]], str] | None = getattr(experiment, "summary", None)
    return None if summary is None else summary(store, records)


def verdicts_of(experiment: Experiment, records: Sequence[Record]) -> list[Verdict]:
    """What records say of the claims an experiment tests; empty where it tests none.

    Its ``verdicts`` judges one setting at a time: records whose configs differ in nothing but the module's
    ``REPLICATES`` (without it, each record is a setting). So runs of another model, budget or scale never mix. The
    command of each verdict is the one that made its records.
    """
    verdicts: Callable[[Sequence[Record]], list[Verdict]] | None = getattr(experiment, "verdicts", None)
    if verdicts is None:
        return []
    return [
        replace(verdict, commands=commands_of(alike))
        for alike in settings_of(records, getattr(experiment, "REPLICATES", ()))
        for verdict in verdicts(alike)
    ]


def settings_of(records: Sequence[Record], replicates: Sequence[str]) -> list[list[Record]]:
    """Records in groups whose configs differ in nothing but the entries named, in the order of their first records."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        fixed = {name: value for name, value in record.job.config.items() if name not in replicates}
        groups.setdefault(canonical(Job(record.job.experiment, fixed)), []).append(record)
    return list(groups.values())


def all_verdicts(runs: Records, damaged: Damaged | None = None) -> list[Verdict]:
    """The verdicts of all experiments on the records of these stores, in the order of `EXPERIMENTS`.

    Args:
        runs: the stores.
        damaged: takes what is wrong with records that cannot be read, by key, while the others are judged.

    Raises:
        DamagedRecord: a record that is judged cannot be read, without `damaged`.
    """
    found = []
    for name in experiment_names():
        found += verdicts_of(load_experiment(name), list(runs.records(name, damaged=damaged)))
    return found
