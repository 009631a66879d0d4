"""`predict`: what a trained φ says of new texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lab.deferred import pandas as pd
from lab.deltas import Delta
from lab.tasks import EncodedTask, Examples, Task
from lab.tasks.encoding import encode


def predict(
    delta: Delta,
    phi: Tensor,
    texts: str | Sequence[str],
    task: Task | EncodedTask,
    *,
    pairs: str | Sequence[str] | None = None,
    max_length: int = 128,
    batch_size: int = 64,
) -> pd.DataFrame:
    """The labels of texts that have none, in the words of the task's source.

    Args:
        delta: the map φ ↦ overrides.
        phi: trained, (d,).
        texts: sentences, or the first sentences of pairs; one, or several.
        task: what φ was trained on: it names the classes, and an encoded one says length and template.
        pairs: the second sentences, where the task is one of pairs.
        max_length: tokens kept per text when `task` is not encoded yet.
        batch_size: texts at a time.

    Returns:
        One row per text, in the given order: text (and pair), prediction: the likeliest class as the source writes it,
        or the number; and for classes "p(…)" of each, its softmax probability.

    Raises:
        TypeError: no task.
        ValueError: pairs for a task without, or none for a task with; blank texts, none, or φ of another length.
    """
    if not isinstance(task, Task | EncodedTask):
        raise TypeError(f"predict takes a delta, its φ, texts and the task, in this order; got {type(task).__name__}.")
    template, most = (task.template, task.max_length) if isinstance(task, EncodedTask) else (None, max_length)
    task = task.task if isinstance(task, EncodedTask) else task
    first, second = _several(texts), None if pairs is None else _several(pairs)
    if (second is None) != (task.train.pairs is None):
        needs = "single texts, and pairs were given" if task.train.pairs is None else "pairs; give pairs=, one per text"
        raise ValueError(f"{task.name} is a task of {needs}.")
    unknown = 0 if task.kind == "classification" else 0.0
    split = encode(Examples(first, (unknown,) * len(first), second), delta.plm, most, template)
    with torch.no_grad():
        chunks = np.array_split(np.arange(len(first)), -(-len(first) // batch_size))
        logits = torch.cat([delta.logits(phi, split.batch(chunk)) for chunk in chunks]).double().cpu()
    table = pd.DataFrame({"text": first} | ({} if second is None else {"pair": second}))
    if task.kind == "regression":
        return table.assign(prediction=logits.reshape(-1).numpy())
    names = task.label_values or task.labels
    p = logits.softmax(dim=1).numpy()
    told = {f"p({name})": p[:, c] for c, name in enumerate(names)}
    return table.assign(prediction=[names[c] for c in p.argmax(axis=1)], **told)


def _several(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)
