"""Options of the user's own data: columns reach every task that is named, and what was made of them is kept."""

from __future__ import annotations

import json

import pytest

from lab.execution import Local
from lab.runs import Store
from lab.study import TRAINING_RUN, Lab, TrainingRun, data_used, load_experiment, with_columns
from lab.tasks.place import named

RUN = {"model": "tiny-bert", "method": {"method": "bitfit"}, "seed": 0, "steps": 1, "batch_size": 2, "max_length": 8}


@pytest.fixture
def file(tmp_path):
    (path := tmp_path / "mine.csv").write_text(
        "first,verdict,number\n" + "".join(f"text {i},{('good', 'bad')[i % 2]},{i}\n" for i in range(100))
    )
    return path


def test_columns_reach_every_local_task_that_is_given(file):
    options = load_experiment("performance").options("smoke")
    given = {"tasks": (str(file), "bbc-news"), "tuning_task": str(file), "steps": 3}
    found = with_columns(options, given, "first", "verdict")
    whole = named(file, "first", "verdict")
    assert found == {"tasks": (whole, "bbc-news"), "tuning_task": whole, "steps": 3}
    assert with_columns(options, given, None, None) == given


@pytest.mark.parametrize("given", [{}, {"task": "bbc-news"}, {"task": "no-such.csv"}])
def test_columns_of_no_file_are_refused(given):
    with pytest.raises(ValueError, match="--text-column and --label-column are columns of your file; name it"):
        with_columns(load_experiment("intrinsic_dimension").options("smoke"), given, "first", None)


def test_sizes_are_caps_and_what_was_used_is_kept_with_the_record(file, tmp_path):
    lab = Lab(Local(Store(tmp_path / "runs"), progress=False))
    task = named(file, "first", "verdict")
    run = TrainingRun(**RUN, task=task, n_train=12, n_validation=300)
    found = lab.one(TRAINING_RUN, run)
    assert (len(run.data.train), len(run.data.validation)) == (12, 20)
    assert found.record.provenance["data"] == {
        task: "text from 'first', label from 'verdict'; classes 0 = bad, 1 = good; 80 training, 20 validation "
        "examples; accuracy; of training examples 12 (at most 12 asked for); of validation examples all (at most 300 "
        "asked for)"
    }
    assert run.amount == "12 examples"
    assert TrainingRun(**RUN, task=task, n_train=81).amount == "all examples"


@pytest.mark.parametrize("name", ["controllability", "curvature", "predicted_dimension", "robustness"])
def test_questions_on_classes_refuse_numbers_before_anything_is_measured(name, tmp_path):
    (scores := tmp_path / "scores.csv").write_text("text,label\n" + "".join(f"text {i},{i / 2}\n" for i in range(60)))
    experiment = load_experiment(name)
    asked = {"task": str(scores)} if "task" in experiment.options("smoke").options() else {"tasks": (str(scores),)}
    with pytest.raises(ValueError, match=f"{name} asks about classes, and .*scores.csv has numbers to predict, e.g. "):
        experiment.measured(experiment.jobs("smoke", **asked)[0], Lab(Local(Store(tmp_path / "runs"))))


def test_packaged_data_need_no_words():
    assert data_used(TrainingRun(**RUN, task="bbc-news", n_train=12)) == {}


def test_a_task_too_small_to_judge_by_is_refused_before_anything_is_trained(tmp_path):
    (small := tmp_path / "small.jsonl").write_text(
        "".join(json.dumps({"text": f"text {i}", "label": i % 2}) + "\n" for i in range(20))
    )
    with pytest.raises(ValueError, match="small has 4 validation examples; at least 10 are needed"):
        _ = TrainingRun(**RUN, task=str(small), n_validation=50).data


def test_numbers_to_predict_get_a_head_of_width_one(tmp_path):
    (scores := tmp_path / "scores.csv").write_text(
        "text,label\n" + "".join(f"text {i},{(i % 7) / 2}\n" for i in range(100))
    )
    found = Lab(Local(Store(tmp_path / "runs"), progress=False)).one(TRAINING_RUN, TrainingRun(**RUN, task=str(scores)))
    assert found.metrics["metric"] == "Pearson"
    assert -1 <= found.metrics["score"] <= 1
