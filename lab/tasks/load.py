"""`load_task`: one name or path, one task. `TASKS`: the tasks that need no network."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from lab.plugins import loaded
from lab.tasks.bbc_news import BBC_NEWS
from lab.tasks.columns import TextColumn
from lab.tasks.drug_reviews import DRUG_REVIEWS
from lab.tasks.files import load_file, load_folder
from lab.tasks.glue import load_glue
from lab.tasks.movie_reviews import IMDB, ROTTEN_TOMATOES
from lab.tasks.place import TASK_FOLDER, place_of
from lab.tasks.probing import BIGRAM_SHIFT, NEXT_SENTENCE, SAME_TOPIC, SENTENCE_LENGTH
from lab.tasks.source import TaskSource
from lab.tasks.task import Task


def load_task(
    name_or_path: str | Path,
    *,
    seed: int = 0,
    few_shot_split: str | None = None,
    text_column: TextColumn = None,
    label_column: str | None = None,
) -> Task:
    """Load a task.

    Args:
        name_or_path: a name of `TASKS` ("bbc-news", …); "glue/sst2" and the like (from the hub, with `datasets`); a
            folder with train and validation files; or a .csv, .tsv, .jsonl, .json or .parquet file. A name wins over a
            path: write "./imdb" for a folder of that name. The name of a folder in $DELTALAB_TASKS ("sst-2", or
            "sst-2/16-shot-13") stands for its path, so that a job need not name a place of one machine. After a path,
            "?text=review&label=stars" says what text_column and label_column say.
        seed: seed of the train / validation split, where the source has none of its own. Default 0: one split for all.
        few_shot_split: few-shot subfolder of a task folder, e.g. "16-shot-13".
        text_column: of a file or folder: the column of the texts, or two for pairs. Default: found by its name
            (`lab.tasks.columns`).
        label_column: of a file or folder: the column of the labels. Default: found by its name.

    Returns:
        The task. Labels of a file may be words, true and false, ±1, or counted from 1: `task.label_values` says what
        each class is in the file.

    Raises:
        ValueError: unknown name, no such path, or data that are not a task (`BadFile` names file and line).
        MissingPackage: the data package, or `datasets`, is not installed, or there is no network.
    """
    choices = ", ".join(source.name for source in TASKS)
    source = next((source for source in TASKS if source.name == str(name_or_path)), None)
    place = place_of(name_or_path)
    path, text_column, label_column = place.path, text_column or place.text, label_column or place.label
    if few_shot_split is not None and (source is not None or not path.is_dir()):
        raise ValueError(
            f"few_shot_split={few_shot_split!r} belongs to a task folder; got {str(name_or_path)!r}. "
            "Use load_task(…).few_shot(k, seed) for other tasks."
        )
    if (text_column, label_column) != (None, None) and (source is not None or not path.exists()):
        raise ValueError(f"text_column and label_column belong to a file or folder; got {str(name_or_path)!r}.")
    if source is not None:
        return source.load(seed)
    if path.is_dir():
        return load_folder(path, few_shot_split, text_column, label_column)
    if path.is_file():
        return load_file(path, seed, text_column, label_column)
    if str(name_or_path).startswith("glue/"):
        return load_glue(str(name_or_path), choices=choices)
    near = get_close_matches(str(name_or_path).lower(), [source.name for source in TASKS], n=1, cutoff=0.5)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"unknown task {str(name_or_path)!r}: neither a known name nor a file or folder here.{meant} "
        f"Known names: {choices}; glue/sst2 and the like from the hub; the path of a task folder or of a "
        f".csv, .tsv, .jsonl, .json or .parquet file; or the name of a folder in $DELTALAB_TASKS ({_folders()})."
    )


def _folders() -> str:
    folder = os.environ.get(TASK_FOLDER)
    if not folder:
        return "which is not set"
    names = sorted(path.name for path in Path(folder).iterdir() if path.is_dir()) if Path(folder).is_dir() else []
    return ", ".join(names) or f"{folder}, where there is none"


# Last: a module of another package that adds a task may import what stands above.
TASKS: tuple[TaskSource, ...] = (
    BBC_NEWS,
    ROTTEN_TOMATOES,
    IMDB,
    DRUG_REVIEWS,
    BIGRAM_SHIFT,
    SENTENCE_LENGTH,
    NEXT_SENTENCE,
    SAME_TOPIC,
    *loaded("tasks", TaskSource),
)
