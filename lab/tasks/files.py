"""Tasks from the user's own files: a folder of JSON lines (or tables), or a single file that is split here."""

from __future__ import annotations

import re
from pathlib import Path

from lab.tasks.columns import BadFile, TextColumn
from lab.tasks.known import known
from lab.tasks.labels import numbered
from lab.tasks.order import split
from lab.tasks.rows import SUFFIXES, read_labelled
from lab.tasks.source import VALIDATION_FRACTION, assemble
from lab.tasks.task import Task

FEW_SHOT = re.compile(r"\d+-shot-\d+")
NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""What the file of a split may be called, as for `datasets`."""


def load_folder(
    folder: Path, few_shot_split: str | None = None, text_column: TextColumn = None, label_column: str | None = None
) -> Task:
    """The task of a folder that holds `train` and `validation` files (.jsonl, .csv, …), in the layout of `datasets`.

    Few-shot splits lie in subfolders "16-shot-13", …: name one, or give its path. Its own small validation file is then
    the development data, and the folder's validation file becomes `task.test`. A `test` file with labels is loaded too.

    Args:
        folder: the task's folder, or one of its few-shot subfolders.
        few_shot_split: a subfolder's name.
        text_column, label_column: as for `load_task`.

    Raises:
        BadFile: a file is missing or cannot be read, or there is no such few-shot split.
    """
    files = split_files(folder, few_shot_split)
    home = files["train"].parent
    name = f"{home.parent.name}/{home.name}" if FEW_SHOT.fullmatch(home.name) else home.name
    written = {part: read_labelled(path, text_column, label_column) for part, path in files.items()}
    splits, values = numbered(written, _known_labels(name))
    columns = written["train"].columns
    return assemble(
        name, splits["train"], splits["validation"], test=splits.get("test"), label_values=values, columns=columns
    )


def split_files(folder: Path, few_shot_split: str | None = None) -> dict[str, Path]:
    """The files that `load_folder` reads: "train", "validation" and, where there is one, "test" -> its file.

    Raises:
        BadFile: the train or validation file is missing, or there is no such few-shot split.
    """
    if few_shot_split is not None:
        if not FEW_SHOT.fullmatch(few_shot_split) or not (folder / few_shot_split).is_dir():
            have = sorted(path.name for path in folder.iterdir() if FEW_SHOT.fullmatch(path.name))
            raise BadFile(
                f"{folder} has no few-shot split {few_shot_split!r}; "
                f"it has {have or 'none'}. task.few_shot(k, seed) draws one from any task."
            )
        folder = folder / few_shot_split
    folder = folder.resolve()
    files = {split_name: _required(folder, split_name) for split_name in ("train", "validation")}
    few_shot = FEW_SHOT.fullmatch(folder.name)
    test = _find(folder.parent, "validation") if few_shot else _find(folder, "test")
    return files if test is None else {**files, "test": test}


def load_file(path: Path, seed: int, text_column: TextColumn = None, label_column: str | None = None) -> Task:
    """The task of a single file, split here: stratified, equal texts on one side, 20 % for validation.

    Raises:
        BadFile: the file cannot be read.
    """
    written = read_labelled(path, text_column, label_column)
    splits, values = numbered({"train": written}, _known_labels(path.stem))
    train, validation = split(splits["train"], VALIDATION_FRACTION, seed)
    return assemble(path.stem, train, validation, label_values=values, columns=written.columns)


def _known_labels(name: str) -> tuple[str, ...]:
    row = known(name)
    return row.labels if row else ()


def _required(folder: Path, split_name: str) -> Path:
    path = _find(folder, split_name)
    if path is None:
        names = " or ".join(NAMES[split_name])
        raise BadFile(
            f"{folder} has no {names} ({', '.join(SUFFIXES)}); a task folder holds train and validation files, and a "
            "single file is split here."
        )
    return path


def _find(folder: Path, split_name: str) -> Path | None:
    suffixes = (".jsonl", ".csv", ".tsv", ".json", ".parquet", ".ndjson")
    paths = (folder / f"{name}{suffix}" for name in NAMES[split_name] for suffix in suffixes)
    return next((path for path in paths if path.is_file()), None)
