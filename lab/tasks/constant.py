"""What a task gives for nothing: the best score of an answer that does not read the text."""

from __future__ import annotations

import torch

from lab.tasks.task import Task


def constant_score(task: Task, split: str = "validation") -> float:
    """The largest score of answering every example alike: of an accuracy, the share of the most frequent class.

    Chance, 1 over the number of classes, is never larger for an accuracy. Of a regression the answer is the mean, which
    correlates with nothing: the score is 0.

    Args:
        task: with labels in the split.
        split: "validation", "train" or "test".
    """
    if task.kind == "regression":
        return 0.0
    labels = torch.tensor(task.splits[split].labels, dtype=torch.float64)
    return max(task.metric.score(torch.full_like(labels, answer), labels) for answer in range(task.num_labels))
