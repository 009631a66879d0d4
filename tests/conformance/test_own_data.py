"""Every experiment on files as people have them: words, pairs of texts, numbers to predict, a hundred rows of each."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from lab.commands.run import answers
from lab.execution import Local, RunsFailed
from lab.runs import Store
from lab.study import experiment_names, load_experiment, measured
from lab.study.settings import meaning

FILES = ("classes.csv", "pairs.jsonl", "numbers.parquet")
QUICK = {
    ("combination", "classes.csv"), ("intrinsic_dimension", "pairs.jsonl"), ("landscape", "numbers.parquet"),
    ("pontryagin", "numbers.parquet"), *(("training_run", file) for file in FILES),
}  # fmt: skip
"""Of every kind of experiment and file one; the other pairs are slow."""
UNMEASURED = {
    ("classes.csv", "template"): "no label words are known for 3-classes",
    ("classes.csv", "transfer"): "transfer needs tasks of two classes",
    ("pairs.jsonl", "combination"): "a label word must be one token; 'false' becomes",  # the tiny PLM reads bytes
    ("pairs.jsonl", "template"): "a label word must be one token; 'false' becomes",
    ("numbers.parquet", "template"): "no label words are known for 3-numbers",
    ("numbers.parquet", "transfer"): "transfer needs tasks of two classes",
}
OF_CLASSES = "asks about classes, and .* has numbers to predict"


def names() -> list[str]:
    return [n for n in experiment_names() if any(e.name in ("task", "tasks") for e in fields(options(n)))]


def options(name: str):
    return load_experiment(name).options("smoke")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    import pandas as pd

    root = tmp_path_factory.mktemp("data")
    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefghij klmnop", k=40)) for _ in range(100)]
    rows = [f"{text},{('good', 'bad', 'so-so')[i % 3]}" for i, text in enumerate(texts)]
    (root / "classes.csv").write_text("\n".join(["review,stars", *rows]))
    pairs = [{"premise": text, "hypothesis": text[::-1], "label": i % 2 == 0} for i, text in enumerate(texts)]
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    pd.DataFrame({"text": texts, "label": [(i % 7) / 2 for i in range(100)]}).to_parquet(root / "numbers.parquet")
    return root


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        pytest.param(name, file, marks=() if (name, file) in QUICK else pytest.mark.slow)
        for name in names()
        for file in FILES
    ],
)
def test_a_file_of_a_hundred_rows_is_measured_or_refused_in_a_sentence(name, file, folder, tmp_path):
    experiment, store = load_experiment(name), Store(tmp_path)
    asked = [e for e in fields(options(name)) if meaning(e).role == "task"]
    copies = [shutil.copy(folder / file, tmp_path / f"{i}-{file}") for i in range(4)]  # as a collection needs
    given = {e.name: ",".join(map(str, copies)) if e.name == "tasks" else str(copies[-1]) for e in asked}
    jobs = experiment.jobs("smoke", **options(name).read(given))
    why = OF_CLASSES if experiment.of_classes and file == "numbers.parquet" else UNMEASURED.get((file, name))
    if why is not None:
        with pytest.raises(RunsFailed, match=why):
            Local(store, progress=False).run(jobs, measured)
        return
    records = Local(store, progress=False).run(jobs, measured)
    assert answers(experiment, records, [store.manifest(job) for job in jobs])
