from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from lab.execution import Local, RunsFailed
from lab.runs import Store, key
from lab.study import ANY_PLM, TRAINING_RUN, Config, Experiment, Lab, Result, Scale, TrainingRun, setting
from lab.study.content import contents


@dataclass(frozen=True, kw_only=True)
class Toy(Config):
    model: str = setting("name", role="model")
    steps: int = setting("steps", low=1)


def measure(c: Toy, lab: Lab) -> Result:
    return Result({"steps": c.steps})


TOY = Experiment(
    name="toy",
    question="?",
    config=Toy,
    scales={
        "demo": Scale(
            (Toy(model="minilm", steps=3), Toy(model="minilm", steps=4), Toy(model="big", steps=1)),
            asked=(Toy(model="smollm2", steps=7), Toy(model=ANY_PLM, steps=9)),
        ),
        "smoke": Toy(model="minilm", steps=2),
    },
    measure=measure,
)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, [("minilm", 3), ("minilm", 4), ("big", 1)]),
        ({"model": "minilm"}, [("minilm", 3), ("minilm", 4)]),
        ({"model": "smollm2"}, [("smollm2", 7)]),
        ({"model": "mine"}, [("mine", 9)]),
        ({"model": "minilm", "steps": 5}, [("minilm", 5)]),
    ],
)
def test_a_plm_has_its_own_settings_or_those_for_any(given, found):
    assert [(c.model, c.steps) for c in TOY.configs("demo", **given)] == found


def test_without_settings_for_any_plm_those_of_the_first_are_taken():
    two = Experiment(
        name="two", question="?", config=Toy, measure=measure,
        scales={"demo": (Toy(model="a", steps=1), Toy(model="a", steps=2), Toy(model="b", steps=3))},
    )  # fmt: skip
    assert [(c.model, c.steps) for c in two.configs("demo", model="c")] == [("c", 1), ("c", 2)]


def test_what_an_experiment_does_not_have_is_refused():
    with pytest.raises(ValueError, match="unknown scale 'huge' of toy; choose one of: demo, smoke"):
        TOY.jobs("huge")
    with pytest.raises(ValueError, match="toy has no setting lr; it has: model, steps"):
        TOY.configs("demo", lr=3)


def test_the_key_holds_what_a_local_model_folder_holds_and_not_its_name_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder := tmp_path / "plm").mkdir()
    (folder / "config.json").write_text("{}")
    c = Toy(model="plm", steps=1)
    before = TOY.job(c)
    assert before.config["content"] == contents(c)
    assert TOY.config.from_json(before.config) == c
    (folder / "config.json").write_text('{"a": 1}')
    assert key(TOY.job(c)) != key(before)
    assert "content" not in TOY.job(Toy(model="minilm", steps=1)).config


def test_a_model_that_changed_since_the_job_was_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder := tmp_path / "plm").mkdir()
    (folder / "config.json").write_text("{}")
    job = TOY.job(Toy(model="plm", steps=1))
    (folder / "config.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="plm changed after this run was asked for; give the command again"):
        TOY.measured(job, Lab(Local(Store(tmp_path / "runs"))))


def write_task(path, text: str) -> None:
    rows = [{"sentence": f"{text} {i}", "label": i % 2} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))


def test_a_run_on_other_data_of_the_same_name_is_another_run(tmp_path):
    """The old answer never comes back: the file is in the key of the run, and provenance says what it held."""
    store = Store(tmp_path / "runs")
    lab = Lab(Local(store, progress=False))
    write_task(file := tmp_path / "mine.jsonl", "first")
    run = TrainingRun(
        model="tiny-bert", task=str(file), method={"method": "bitfit"}, seed=0, steps=1, batch_size=2, max_length=8
    )
    first = lab.one(TRAINING_RUN, run)
    assert lab.one(TRAINING_RUN, run).record.provenance["started"] == first.record.provenance["started"]
    write_task(file, "second")
    second = lab.one(TRAINING_RUN, run)
    assert len(store.keys("training_run")) == 2
    digests = {r.record.provenance["content"][str(file)] for r in (first, second)}
    assert len(digests) == 2
    assert first.metrics["score"] != second.metrics["score"] or first.tables["history"]["loss"].tolist() != (
        second.tables["history"]["loss"].tolist()
    )


def test_three_splits_report_a_score_that_nothing_was_chosen_on(tmp_path):
    lab = Lab(Local(Store(tmp_path / "runs"), progress=False))
    shared = {
        "model": "tiny-bert", "task": "bbc-news", "method": {"method": "bitfit"}, "seed": 0, "steps": 1,
        "batch_size": 2, "max_length": 8, "n_train": 16, "n_validation": 8,
    }  # fmt: skip
    two, three = lab.run(
        TRAINING_RUN, [TrainingRun(**shared), TrainingRun(**shared, splits=3, n_test=20)], "two and three splits"
    )
    assert "test_score" not in two.metrics
    assert 0 <= three.metrics["test_score"] <= 1
    assert "splits" not in two.record.job.config
    assert three.record.job.config["splits"] == 3


def test_a_child_that_fails_says_whose_it_is(tmp_path):
    lab = Lab(Local(Store(tmp_path / "runs"), progress=False))
    run = TrainingRun(model="tiny-bert", task="no such task", method={"method": "bitfit"}, seed=0, steps=1)
    with pytest.raises(RunsFailed, match="unknown task 'no such task'"):
        lab.one(TRAINING_RUN, run)
