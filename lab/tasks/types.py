"""Kinds of task: what it takes to tell the classes apart."""

from __future__ import annotations

from pathlib import PurePath

TYPES: dict[str, tuple[str, ...]] = {
    "sentiment": ("rotten-tomatoes", "imdb", "drug-reviews", "sst-2", "sst-5", "mr", "cr", "mpqa", "amazon-5"),
    "topic": ("bbc-news", "ag-news", "yahoo"),
    "form": ("bigram-shift", "sentence-length", "cola"),
    "pairs": ("next-sentence", "same-topic"),
    "subjectivity": ("subj",),
    "paraphrase": ("mrpc", "qqp", "sts-b"),
    "inference": ("rte", "qnli", "mnli", "snli", "wnli"),
}
"""Type -> names of its tasks. "pairs" asks whether two texts belong together, "form" how a sentence is made."""

_TYPE_OF = {"".join(filter(str.isalnum, name)): kind for kind, names in TYPES.items() for name in names}


def type_of(name_or_path: str) -> str:
    """The type of a task; a task that is not known is a type of its own.

    Example:
        >>> type_of("imdb"), type_of("glue/sst2"), type_of("sst-2/16-shot-13"), type_of("mine/chess")
        ('sentiment', 'sentiment', 'sentiment', 'chess')
    """
    parts = PurePath(name_or_path).parts
    plain = ["".join(letter for letter in part.lower() if letter.isalnum()) for part in parts]
    return next((_TYPE_OF[part] for part in reversed(plain) if part in _TYPE_OF), PurePath(name_or_path).name)
