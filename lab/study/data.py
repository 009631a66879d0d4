"""What a measurement made of the user's own data: how columns and labels were read, and how many examples were used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lab.study.config import Config
from lab.study.materials import open_task
from lab.study.settings import Settings, meaning, types_of
from lab.tasks import described
from lab.tasks.columns import TextColumn
from lab.tasks.fingerprint import fingerprint
from lab.tasks.place import named, place_of

SIZES = {"n_train": "training", "n_validation": "validation"}


def data_used(config: Config) -> dict[str, str]:
    """A sentence by name for every local task that a config names: a packaged one is the same for everyone."""
    found = {}
    for name in dict.fromkeys(config.named("task")):
        if fingerprint(name) is not None:
            task = open_task(name)
            sizes = {"n_train": len(task.train), "n_validation": len(task.validation)}
            capped = [
                f"of {SIZES[size]} examples {'all' if sizes[size] <= most else most} (at most {most} asked for)"
                for size, most in dict(_sizes(config)).items()
            ]
            found[name] = "; ".join([described(task), *capped])
    return found


def refuse_numbers(experiment: str, config: Config) -> None:
    """Raise where a config names a task of numbers to predict.

    Raises:
        ValueError: it does; the message says what the labels are.
    """
    for name in config.named("task"):
        if (task := open_task(name)).kind == "regression":
            raise ValueError(
                f"{experiment} asks about classes, and {name} has numbers to predict, e.g. {task.train.labels[0]:g}; "
                "write its labels as words or whole numbers, or choose another task"
            )


def _sizes(config: Config) -> Iterator[tuple[str, int]]:
    """The caps on the numbers of examples, the config's own after those of its parts."""
    for name in types_of(type(config)):
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from _sizes(value)
        elif name in SIZES and value is not None:
            yield name, value


def with_columns(
    options: type[Settings], given: Mapping[str, Any], text: TextColumn, label: str | None
) -> dict[str, Any]:
    """Settings whose tasks say which of their columns are meant (`lab.tasks.place`).

    Args:
        options: the type of the settings.
        given: settings by name; every local task among them takes the columns.
        text: the texts' column, two for pairs; None: found.
        label: the labels' column; None: found.

    Raises:
        ValueError: no file or folder among the given tasks, whose columns they could be.
    """
    if text is None and label is None:
        return dict(given)
    changed = dict(given)
    for name in given:
        if meaning(options.__dataclass_fields__[name]).role == "task" and given[name] is not None:
            whole = given[name]
            tasks = [named(task, text, label) if place_of(task).path.exists() else task for task in _all(whole)]
            changed[name] = tasks[0] if isinstance(whole, str) else tuple(tasks)
    if changed == dict(given):
        raise ValueError("--text-column and --label-column are columns of your file; name it: --task FILE")
    return changed


def _all(tasks: str | tuple[str, ...]) -> tuple[str, ...]:
    return (tasks,) if isinstance(tasks, str) else tasks
