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
    assert list(three.examples("imdb").test.labels) != list(three.examples("imdb").validation.labels)
    assert three.run("imdb").splits == 3


def planted(n_tasks: int, job, shift: float = 0.0):
    """Two types of task, near each other inside a type; cosine follows the transfer, similarity runs against it."""
    place = np.array([i % 2 * 60 + i**1.1 for i in range(n_tasks)])
    types = [f"type {i % 2}" for i in range(n_tasks)]
    rows, pairs = [], []
    for i in range(n_tasks):
        for j in range(n_tasks):
            far = abs(place[i] - place[j])
            relative = (1.0 if i == j else 0.9 - 0.05 * far) + shift
            rows.append({"head": "transferred", "source": f"t{i}", "target": f"t{j}", "source_type": types[i],
                         "target_type": types[j], "relative": relative})  # fmt: skip
            if i < j:
                pairs.append({"label": job.config["label"], "pair": f"t{i} · t{j}", "cosine": -far, "subspace": far,
                              "transfer": relative})  # fmt: skip
    tables = {"transfer": pd.DataFrame(rows), "transfer_similarity": pd.DataFrame(pairs)}
    return TRANSFER.finding(Record(job, {"inside": 0.8, "across": 0.1}, tables))


def answers(n_tasks: int) -> dict[str, str]:
    found = [planted(n_tasks, job, 0.01 * i) for i, job in enumerate(TRANSFER.jobs("demo"))]
    return {v.claim.split()[1]: v.answer for v in transfer.claims(found)}


def test_verdicts_are_those_planted():
    found = answers(10)
    assert found["transfer"] == "holds here"
    assert found["cosine"] == "holds here"
    assert found["subspace"] == "does not hold here"  # it runs against the transfer


def test_four_tasks_cannot_tell_whatever_they_show():
    assert set(answers(4).values()) == {"cannot tell"}
    (by_type, *_) = transfer.claims([planted(4, job) for job in TRANSFER.jobs("demo")])
    assert "exact test over 4 tasks: one-sided p = 0.333, the smallest possible 0.333" in by_type.quantity
    assert by_type.measured.n == 4


def test_methods_and_seeds_on_the_same_tasks_are_no_more_tasks():
    jobs = TRANSFER.jobs("demo")
    one, all_of_them = (transfer.claims([planted(6, job) for job in part])[0].measured for part in (jobs[:1], jobs))
    assert one == all_of_them


def test_every_method_and_the_probe_choose_their_step_size_by_one_rule_on_the_tuning_task():
    """The best of the half-decades tried, by validation data; the probe's step size is that of its head."""
    asked = []

    class Tried:
        def run(self, experiment, children, label=""):
            asked.append([(child.task, child.lr, child.head_lr) for child in children])
            scores = {1e-3: 0.6, 3e-3: 0.7, 1e-2: 0.9, 3e-2: 0.8, 1e-1: 0.5}
            histories = [
                pd.DataFrame({"split": ["validation"], "score": [scores[child.lr]], "loss": [0.1]})
                for child in children
            ]
            return [
                experiment.finding(Record(experiment.job(child), {}, {"history": history}))
                for child, history in zip(children, histories, strict=True)
            ]

    for label in ("LoRA", "linear probe"):
        (c,) = TRANSFER.configs("smoke", methods=(label,), smallest_grid=3, largest_grid=5)
        assert c.step_size(Tried()) == 1e-2
    assert {task for task, *_ in asked[-1]} == {"imdb"}
    assert {head for *_, head in asked[-1]} == {None}
    (given,) = TRANSFER.configs("demo", methods=("LoRA",), tuning_task=None)
    assert given.step_size(Tried()) == given.lr
