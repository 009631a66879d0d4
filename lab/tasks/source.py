"""`Source`: a named origin of a task, one row of `TASKS`; `assemble` makes a `Task` of labelled examples."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from lab.tasks.examples import Examples
from lab.tasks.known import known
from lab.tasks.metrics import ACCURACY, PEARSON, SPEARMAN, Metric
from lab.tasks.task import Task

VALIDATION_FRACTION = 0.2
"""Share kept for validation where a source has no split of its own: a convention of this laboratory, stratified."""


@dataclass(frozen=True)
class Source:
    """A task that can be loaded by name.

    Attributes:
        name: what `load_task` takes.
        title: what it is, in a few words.
        requirement: the package its data come from, as pip installs it.
        load: seed of the split ↦ task. Raises `MissingPackage` when the package is not installed.
    """

    name: str
    title: str
    requirement: str
    load: Callable[[int], Task]


def assemble(
    name: str,
    train: Examples,
    validation: Examples,
    *,
    labels: tuple[str, ...] | None = None,
    test: Examples | None = None,
) -> Task:
    """A task with the label names and metrics known for its name.

    Args:
        name: the task's name, looked up in `KNOWN`.
        train: training examples; float labels make it a regression.
        validation: validation examples.
        labels: names of the classes; default: those known for the name, else "0", "1", … up to the largest label.
        test: further examples.

    Raises:
        ValueError: classes that no training example has, or what `Task` refuses.

    Warns:
        UserWarning: validation texts that also are training texts: published splits are kept as they are.
    """
    row = known(name)
    if train.numeric:
        metrics = row.metrics if row and not row.labels else (PEARSON, SPEARMAN)
        return _warned(Task(name, "regression", (), train, validation, metrics[0], metrics[1:], test))
    present = set(train.labels)
    if labels is None:
        fits = row is not None and max(present) < len(row.labels)
        labels = row.labels if row and fits else tuple(str(c) for c in range(int(max(present)) + 1))
    missing = sorted(set(range(len(labels))) - present)
    if len(present) > 1 and missing:
        raise ValueError(
            f"{name}: no training example has the label {missing[0]}; expected classes 0 … {len(labels) - 1}, each at least "
            "once. Number the classes without gaps."
        )
    metrics = _classification_metrics(row.metrics if row else (ACCURACY,), len(labels))
    return _warned(Task(name, "classification", labels, train, validation, metrics[0], metrics[1:], test))


def _classification_metrics(metrics: tuple[Metric, ...], n_classes: int) -> tuple[Metric, ...]:
    """The known metrics, unless they are binary or for regression and do not fit."""
    binary_only = metrics != (ACCURACY,)
    return (ACCURACY,) if binary_only and (n_classes != 2 or PEARSON in metrics) else metrics


def _warned(task: Task) -> Task:
    if task.overlap:
        warnings.warn(
            f"{task.name}: {task.overlap} of {len(task.validation)} validation texts are also training texts; "
            "its validation scores are optimistic.",
            stacklevel=3,
        )
    return task
