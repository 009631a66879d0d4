"""Transfer: what it refuses, on which split it reports, and its verdicts on planted numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments import transfer
from lab.execution import Local
from lab.runs import Record, Store
from lab.study import Lab

TRANSFER = transfer.EXPERIMENT


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        TRANSFER.jobs("huge")
    with pytest.raises(ValueError, match=r"unknown methods \['magic'\]; choose from"):
        TRANSFER.jobs("demo", methods=("magic",))
    with pytest.raises(ValueError, match="--heads is 'borrowed'; expected one of transferred, refitted"):
        TRANSFER.jobs("demo", heads=("borrowed",))


def test_tasks_of_other_than_two_classes_are_refused_before_anything_is_trained(tmp_path):
    c = TRANSFER.configs("smoke", tasks=("rotten-tomatoes", "drug-reviews"))[0]
    with pytest.raises(ValueError, match="tasks of two classes, so that φ fits them all; 'drug-reviews' has 3"):
        transfer.measure(c, Lab(Local(Store(tmp_path), progress=False)))


def test_with_three_splits_a_target_is_scored_on_its_test_data():
    two, three = (TRANSFER.configs("smoke", methods=("LoRA",), splits=n, tasks=("imdb",))[0] for n in (2, 3))
    assert (two.judged, three.judged) == ("validation", "test")
    assert list(three.data("imdb").test.labels) != list(three.data("imdb").validation.labels)
    assert three.run("imdb").splits == 3


def test_verdicts_are_those_planted():
    found = []
    for i, job in enumerate(TRANSFER.jobs("demo")):
        inside = {"inside": 0.8 + 0.01 * i, "across": 0.1}
        pairs = pd.DataFrame(
            {"label": job.config["label"], "pair": [f"p{k}" for k in range(10)], "cosine": np.arange(10.0) + i,
             "subspace": -np.arange(10.0), "transfer": np.arange(10.0) / 10}
        )  # fmt: skip
        found.append(TRANSFER.finding(Record(job, inside, {"transfer_similarity": pairs})))
    answers = {v.claim: v.answer for v in transfer.claims(found)}
    assert answers["Zero-shot transfer is better inside a type of task than across types."] == "holds here"
    assert answers["The cosine of two updates tells how well the deltas transfer between their tasks."] == "holds here"
    assert list(answers.values())[-1] == "does not hold here"
