"""What was made of the user's file, in one sentence: which columns, which classes, how many examples."""

from __future__ import annotations

from lab.tasks.task import Task

SHOWN = 12
"""Classes that are named one by one; of more, the first ones."""


def described(task: Task) -> str:
    """Columns, the number of each class beside what the file writes for it, and the sizes of the splits.

    Example:
        >>> from lab.tasks.examples import Examples
        >>> from lab.tasks.metrics import ACCURACY
        >>> part = Examples(("a", "b"), (0, 1))
        >>> described(Task("mine", "classification", ("no", "yes"), part, part, ACCURACY, label_values=("-1", "1")))
        'classes 0 = -1 (no), 1 = 1 (yes); 2 training, 2 validation examples; accuracy'
    """
    columns = ""
    if task.columns:
        *texts, label = task.columns
        columns = f"text from {' and '.join(map(repr, texts))}, label from {label!r}; "
    sizes = ", ".join(f"{len(examples)} {name.replace('train', 'training')}" for name, examples in task.splits.items())
    return f"{columns}{_labels(task)}; {sizes} examples; {task.metric.name}"


def _labels(task: Task) -> str:
    if task.kind == "regression":
        return f"numbers from {min(task.train.labels):g} to {max(task.train.labels):g} (regression)"
    written = task.label_values or tuple(map(str, range(len(task.labels))))
    classes = [
        f"{number} = {value}" + ("" if name in (value, str(number)) else f" ({name})")
        for number, (value, name) in enumerate(zip(written, task.labels, strict=True))
    ]
    more = f", … {len(classes)} in all" if len(classes) > SHOWN else ""
    return f"classes {', '.join(classes[:SHOWN])}{more}"
