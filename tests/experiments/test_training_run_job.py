"""The child job's options: what a job holds, few-shot splits, templates, no steps."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch

from lab.deltas import Adapter, Combination, LinearProbe
from lab.models.tiny import tiny_plm
from lab.study import TRAINING_RUN, Budget, TrainingRun, few_shot, final, merit
from lab.tasks import load_task, manual_template
from lab.training import evaluate

TINY = {"task": "rotten-tomatoes", "batch_size": 4, "max_length": 24, "n_validation": 16}


def test_options_that_are_not_used_are_not_in_the_job():
    run = TrainingRun(model="tiny-bert", method={"method": "full"}, seed=0, steps=1, n_layers=None, **TINY)
    assert {"n_layers", "shots", "template", "splits", "n_test"}.isdisjoint(TRAINING_RUN.job(run).config)
    config = replace(run, n_layers=1, shots=4).to_json()
    assert (config["n_layers"], config["shots"]) == (1, 4)


def test_a_child_takes_what_a_budget_fixes_and_what_it_is_given():
    budget = Budget(model="tiny-bert", steps=5, n_train=8, **TINY)
    given = {"method": {"method": "full"}, "seed": 1, "steps": 2}
    assert budget.child(**given) == TrainingRun(model="tiny-bert", n_train=8, **given, **TINY)


def test_step_sizes_are_chosen_by_score_and_where_it_ties_by_loss():
    def history(score: float, loss: float) -> pd.DataFrame:
        ends = [("train", 0.0, 9.0), ("validation", score, loss)]
        return pd.DataFrame([("validation", 1.0, 0.1), *ends], columns=["split", "score", "loss"])

    assert merit(history(0.8, 0.5)) < merit(history(0.9, 0.7)) < merit(history(0.9, 0.6))
    assert final(history(0.8, 0.5), "train")["loss"] == 9.0


def test_no_steps_through_a_template_is_the_untouched_language_model():
    method = Combination().to_json()
    run = TrainingRun(model="tiny-llama", method=method, seed=3, steps=0, n_train=32, template=True, **TINY)
    delta, result = run.trained()
    task = load_task("rotten-tomatoes").subset(32, 16, seed=0)
    template = manual_template(task)
    plm = tiny_plm("llama", head="lm", verbalizer=template.words, dtype=torch.float32)
    encoded = task.encode(plm, max_length=24, template=template.template)
    bare = Combination().on(plm)
    assert delta.size == 0
    assert (result.steps, result.score) == (0, evaluate(bare, encoded, bare.phi0, "validation")[1])
    assert [row["split"] for row in result.history] == ["train", "validation"]


def test_depth_and_template_reach_the_model():
    run = TrainingRun(
        model="tiny-llama", method=Adapter(bottleneck=2).to_json(), seed=0, steps=1, n_train=16, n_layers=1,
        template=True, **TINY,
    )  # fmt: skip
    delta, result = run.trained()
    assert (delta.plm.n_blocks, delta.head_size, result.steps) == (1, 0, 1)


def test_few_shot_with_three_splits_chooses_on_as_many_examples_and_scores_on_what_was_held_out():
    two, three = (few_shot("rotten-tomatoes", 4, 13, 20, splits=splits, n_test=30) for splits in (2, 3))
    assert [len(three.train), len(three.validation), len(three.splits["test"])] == [8, 8, 30]
    assert two.train.texts == three.train.texts
    assert not set(three.train.keys) & set(three.validation.keys)
    held_out = set(few_shot("rotten-tomatoes", 4, 13, None).validation.keys)
    assert set(three.splits["test"].keys) <= held_out
    assert not set(three.validation.keys) & held_out


def test_few_shot_draws_from_a_packaged_task_and_scores_on_the_whole_ones_validation_data():
    run = TrainingRun(model="tiny-bert", method=LinearProbe().to_json(), seed=21, steps=1, shots=3, **TINY)
    task, whole = run.data, load_task("rotten-tomatoes")
    assert (len(task.train), len(task.validation)) == (6, 16)
    assert set(task.train.texts) <= set(whole.train.texts)
    assert set(task.validation.texts) <= set(whole.validation.texts)
    assert replace(run, seed=42).data.train.texts != task.train.texts


def folder(root, *files):
    for file in files:
        path = root / "mine" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"sentence": f"{file} {i}", "label": i % 2} for i in range(4)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(root / "mine")


def test_a_task_folder_brings_its_own_splits(tmp_path):
    shots = ("2-shot-13/train.jsonl", "2-shot-13/validation.jsonl")
    task = few_shot(folder(tmp_path, "train.jsonl", "validation.jsonl", *shots), 2, 13, None)
    assert set(task.train.texts) == {f"2-shot-13/train.jsonl {i}" for i in range(4)}
    assert set(task.validation.texts) == {f"validation.jsonl {i}" for i in range(4)}
    with pytest.raises(ValueError, match=r"no few-shot split '2-shot-14'; it has \['2-shot-13'\]"):
        few_shot(str(tmp_path / "mine"), 2, 14, None)


def test_a_task_that_is_not_there_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"unknown task 'sst-99'.*folder in \$DELTALAB_TASKS"):
        few_shot("sst-99", 16, 13, None)
