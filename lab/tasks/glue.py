"""glue/…: the GLUE tasks (Wang et al. 2019) from the Hugging Face hub, when `datasets` is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from lab.tasks.examples import Examples
from lab.tasks.packaged import MissingPackage
from lab.tasks.source import assemble
from lab.tasks.task import Task

REPOSITORY = "nyu-mll/glue"

COLUMNS: dict[str, tuple[str, ...]] = {
    "cola": ("sentence",),
    "sst2": ("sentence",),
    "mrpc": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"),
    "stsb": ("sentence1", "sentence2"),
    "mnli": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
    "rte": ("sentence1", "sentence2"),
    "wnli": ("sentence1", "sentence2"),
}


def load_glue(name: str, fetch: Callable[[str, str], Any] | None = None, choices: str = "") -> Task:
    """A GLUE task with its published train and validation data (MNLI: the matched ones).

    Args:
        name: "glue/sst2", "glue/rte", …; dashes are ignored.
        fetch: (repository, configuration) ↦ {split: rows}; default: `datasets.load_dataset`.
        choices: the tasks that need no network, for the error message.

    Raises:
        ValueError: not a GLUE task.
        MissingPackage: `datasets` is not installed, or the data cannot be fetched.
    """
    config = name.removeprefix("glue/").replace("-", "").lower()
    if config not in COLUMNS:
        raise ValueError(f"unknown GLUE task {name!r}; expected one of {['glue/' + c for c in COLUMNS]}.")
    remedy = f"Tasks that need no network: {choices}; a folder or file of your own works too."
    if fetch is None:
        try:
            fetch = import_module("datasets").load_dataset
        except ImportError as error:
            raise MissingPackage(f"{name} needs `datasets`: pip install 'deltalab[hub]'. {remedy}") from error
    try:
        splits = fetch(REPOSITORY, config)
    except Exception as error:  # datasets raises its own, huggingface_hub's, requests' and OS errors
        raise MissingPackage(f"could not fetch {name} ({type(error).__name__}: {error}). {remedy}") from error
    validation = "validation_matched" if config == "mnli" else "validation"
    return assemble(name, _examples(splits["train"], config), _examples(splits[validation], config))


def _examples(rows: Any, config: str) -> Examples:
    texts = [tuple(str(text) for text in rows[column]) for column in COLUMNS[config]]
    labels = tuple(float(label) if config == "stsb" else int(label) for label in rows["label"])
    return Examples(texts[0], labels, texts[1] if len(texts) == 2 else None)
