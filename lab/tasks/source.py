"""`TaskSource`: a named origin of a task, one row of `TASKS`; `assemble` makes a `Task` of labelled examples."""

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

TOLERATED_OVERLAP = 0.01
"""Share of validation texts seen in training that passes without a warning: it moves an accuracy by at most as much."""


@dataclass(frozen=True)
class TaskSource:
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
    label_values: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
) -> Task:
    """A task with the label names and metrics known for its name.

    Args:
        name: the task's name, looked up in `KNOWN`.
        train: training examples; float labels in any split make it a regression.
        validation: validation examples.
        labels: names of the classes; default: those known for the name, else `label_values`, else "0", "1", … up to the
            largest label.
        test: further examples.
        label_values: what the source writes for each class; () where that is its number.
        columns: of the file, as `Task` has them.

    Raises:
        ValueError: classes that no training example has, or what `Task` refuses.

    Warns:
        UserWarning: float labels that are all whole numbers; more than 1 % of the validation texts are training texts
            (published splits are kept as they are; `task.overlap` is the exact number).
    """
    row = known(name)
    if train.numeric or validation.numeric or (test is not None and test.numeric):
        train, validation, test = train.as_floats(), validation.as_floats(), test and test.as_floats()
        _warn_of_whole_floats(name, train)
        metrics = row.metrics if row and not row.labels else (PEARSON, SPEARMAN)
        return _warned(Task(name, "regression", (), train, validation, metrics[0], metrics[1:], test, columns=columns))
    present = set(train.labels)
    if labels is None and row is not None and _fits(row.labels, label_values, int(max(present))):
        labels = row.labels
    if labels is None and label_values:
        labels = label_values
    n_classes = int(max(present)) + 1 if labels is None else len(labels)
    if 1 < len(present) < n_classes:
        missing = next(c for c in range(n_classes) if c not in present)
        written = label_values[missing] if label_values else missing
        raise ValueError(
            f"{name}: no training example has the label {written!r}; every one of the {n_classes} classes needs at "
            "least one. Add one to the training data, or leave this class out."
        )
    labels = tuple(str(c) for c in range(len(present))) if labels is None else labels
    metrics = _classification_metrics(row.metrics if row else (ACCURACY,), len(labels))
    main, *further = metrics
    return _warned(
        Task(name, "classification", labels, train, validation, main, tuple(further), test, label_values, columns)
    )


def _fits(known_labels: tuple[str, ...], label_values: tuple[str, ...], largest: int) -> bool:
    """Whether the known label names name the classes: all of them, and the same words where words are written."""
    if not label_values:
        return largest < len(known_labels)
    words = [value.casefold() for value in label_values if not value.lstrip("+-").isdecimal()]
    return len(label_values) == len(known_labels) and (not words or words == [x.casefold() for x in known_labels])


def _classification_metrics(metrics: tuple[Metric, ...], n_classes: int) -> tuple[Metric, ...]:
    """The known metrics, unless they are binary or for regression and do not fit."""
    binary_only = metrics != (ACCURACY,)
    return (ACCURACY,) if binary_only and (n_classes != 2 or PEARSON in metrics) else metrics


def _warn_of_whole_floats(name: str, train: Examples) -> None:
    if all(float(label).is_integer() for label in train.labels):
        warnings.warn(
            f"{name}: every label is a whole number written as a float, so this is a regression; "
            "write the labels as integers (1, not 1.0) for classification.",
            stacklevel=4,
        )


def _warned(task: Task) -> Task:
    if task.overlap > TOLERATED_OVERLAP * len(task.validation):
        warnings.warn(
            f"{task.name}: {task.overlap} of {len(task.validation)} validation texts are also training texts; "
            "its validation scores are optimistic.",
            stacklevel=3,
        )
    return task
