"""What is known about public tasks by name: label names in the order of their numbers, and metrics.

Metrics are GLUE's (Wang et al. 2019, table 1): Matthews for CoLA, F1 and accuracy for MRPC and QQP, Pearson and
Spearman for STS-B, accuracy for all others. Label names are those of the public data sets' cards.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.tasks.metrics import ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN, Metric

SENTIMENT = ("negative", "positive")
FIVE_STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
INFERENCE = ("entailment", "not entailment")


@dataclass(frozen=True)
class KnownTask:
    """Label names and metrics of a public task.

    Attributes:
        name: the name used here, e.g. "sst-2"; "sst2" and "SST_2" find it too.
        labels: names of the classes in the order of their numbers; () for regression.
        metrics: the metric first, then those reported beside it.
    """

    name: str
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...] = (ACCURACY,)


KNOWN: tuple[KnownTask, ...] = (
    KnownTask("cola", ("unacceptable", "acceptable"), (MATTHEWS, ACCURACY)),
    KnownTask("sst-2", SENTIMENT),
    KnownTask("sst-5", ("very negative", "negative", "neutral", "positive", "very positive")),
    KnownTask("mr", SENTIMENT),
    KnownTask("cr", SENTIMENT),
    KnownTask("mpqa", SENTIMENT),
    KnownTask("imdb", SENTIMENT),
    KnownTask("rotten-tomatoes", SENTIMENT),
    KnownTask("amazon-5", FIVE_STARS),
    KnownTask("subj", ("subjective", "objective")),
    KnownTask("mnli", ("entailment", "neutral", "contradiction")),
    KnownTask("snli", ("entailment", "neutral", "contradiction")),
    KnownTask("qnli", INFERENCE),
    KnownTask("rte", INFERENCE),
    KnownTask("wnli", ("not entailment", "entailment")),
    KnownTask("mrpc", ("not equivalent", "equivalent"), (F1, ACCURACY)),
    KnownTask("qqp", ("not duplicate", "duplicate"), (F1, ACCURACY)),
    KnownTask("sts-b", (), (PEARSON, SPEARMAN)),
    KnownTask("ag-news", ("world", "sports", "business", "technology")),
    KnownTask(
        "yahoo",
        (
            "society",
            "science",
            "health",
            "education",
            "computers",
            "sports",
            "business",
            "entertainment",
            "relationships",
            "politics",
        ),
    ),
)


def known(name: str) -> KnownTask | None:
    """The row of a public task, found by letters and digits alone; few-shot and path-like parts are ignored.

    Example:
        >>> known("glue/sst2").name, known("mrpc/16-shot-13").name, known("mine")
        ('sst-2', 'mrpc', None)
    """
    parts = {_plain(part) for part in name.split("/")}
    return next((task for task in KNOWN if _plain(task.name) in parts), None)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
