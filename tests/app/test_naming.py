"""Names that tell records and curves apart; text that markdown shows as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.markdown import literal
from app.naming import describe, in_words, labelled, method, number_or_word, quantity, told_by_number
from lab.deltas import METHODS
from lab.runs import Job, Manifest


def manifest(**config) -> Manifest:
    return Manifest(Path(), Job("training_run", config), {}, {})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"method": "did", "projection": "fastfood", "head": "free"}, "DID fastfood"),
        ({"method.method": "lora", "method.rank": 8, "method.head": "free"}, "LoRA r = 8"),
        ({"method.method": "did", "method.projection": "one-hot", "method.dimension": 10}, "DID one-hot d = 10"),
        ({"method": "full", "weights": "random"}, "full fine-tuning, random weights"),
        ({"weights": "random"}, ""),
    ],
)
def test_methods_in_words(config, words):
    assert method(config) == words


@pytest.mark.parametrize("kind", [m for m in METHODS if m.name not in ("did", "said")])
def test_methods_have_the_names_that_figures_give_them(kind):
    assert method({f"method.{name}": value for name, value in kind().to_json().items()}) == kind().title


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 160, "n_train": None, "batch_size": 8}, "160 steps, all training examples, 8 texts in a batch"),
        (
            {"method.method": "lora", "method.rank": 4, "lr": 0.03, "method.head": "free"},
            "LoRA r = 4, step size 0.03, head free",
        ),
        ({"joint_with.method": "lora", "joint_with.rank": 4, "ks": "[5]"}, "jointly with LoRA r = 4, ks 5"),
        ({"joint_with.method": None, "joint_with.rank": None}, ""),
        (
            {"sizes": '["minilm:1", "minilm"]', "part": "next tokens", "own_starts": False},
            "PLMs minilm:1, minilm, next tokens, no starts of their own",
        ),
        ({"methods": '[{"method": "full"}, {"method": "mask"}]'}, "2 methods"),
    ],
)
def test_settings_in_words(settings, words):
    assert in_words(settings) == words


def test_records_in_words():
    assert (
        describe(manifest(method="full", model="minilm", task="imdb", seed=3))
        == "full fine-tuning · minilm · imdb · seed 3"
    )
    assert describe(manifest(steps=3)) == "training_run"


def table(*manifests: Manifest, **columns) -> pd.DataFrame:
    rows = [{"key": m.key, "model": m.job.config.get("model"), **columns} for m in manifests]
    return pd.DataFrame(rows)


def test_one_label_never_stands_for_two_jobs():
    runs = (manifest(method="did", projection="fastfood", head=head, seed=0) for head in ("inside", "free"))
    one, two = runs
    found = labelled(table(one, two, label="DID fastfood"), [one, two])
    assert found.label.tolist() == ["DID fastfood, head inside", "DID fastfood, head free"]


def test_seeds_are_pooled_where_a_figure_averages_over_them():
    one, two = (manifest(method={"method": "lora", "rank": 8}, seed=seed) for seed in (0, 1))
    rows = table(one, two)
    assert labelled(rows, [one, two], pool=("seed",)).label.tolist() == ["LoRA r = 8"] * 2
    assert labelled(rows, [one, two]).label.tolist() == ["LoRA r = 8, seed 0", "LoRA r = 8, seed 1"]


def test_what_differs_in_much_is_numbered_and_seeds_stay_pooled():
    rows = [(1, 0), (1, 1), (2, 0)]
    runs = [manifest(method="did", seed=seed, **dict.fromkeys("abcde", which)) for which, seed in rows]
    found = labelled(table(*runs, label="DID"), runs, pool=("seed",)).label.tolist()
    first, second = "DID, a 1, b 1, c 1, … (setting 1)", "DID, a 2, b 2, c 2, … (setting 2)"
    assert found == [first, first, second]


def test_different_tasks_or_plms_need_no_suffix():
    one, two = (manifest(method="full", model=model) for model in ("minilm", "smollm2"))
    assert labelled(table(one, two, label="full"), [one, two]).label.tolist() == ["full", "full"]


def test_equal_configs_of_two_experiments_are_told_apart_by_key():
    one, two = (Manifest(Path(), Job(name, {"method": "full"}), {}, {}) for name in ("a", "b"))
    labels = labelled(table(one, two), [one, two]).label.tolist()
    assert labels == [f"full fine-tuning, {one.key[:12]}", f"full fine-tuning, {two.key[:12]}"]


@pytest.mark.parametrize(
    "text", ["[a](http://x)", "![a](b)", "**b** _i_ `c`", "$x$ :red[y] :material/home:", "<b>&lt;"]
)
def test_nothing_in_literal_text_is_markup(text):
    shown = literal(text)
    assert shown.replace("\\", "") == text
    for position, letter in enumerate(shown):
        if letter in "[]()!*_`$:<>&":
            assert shown[position - 1] == "\\"


def test_line_breaks_become_spaces():
    assert literal("a\n\n# b") == "a \\# b"


def test_settings_and_metrics_in_one_column():
    values = (None, float("nan"), pd.NA, 0.41653730000010564, 7, np.int64(13824), True, np.True_, "did", "")
    assert [number_or_word(v) for v in values] == [
        "–", "–", "–", "0.416537", "7", "13,824", "yes", "yes", "did", "",
    ]  # fmt: skip


def test_settings_and_metrics_in_words_with_units():
    named = {"train_seconds": "training time [s]", "method.rank": "rank", "n_train": "training examples"}
    named |= {"share_at_0.01": "share at 0.01", "model.name": "model, name"}
    assert {name: quantity(name) for name in named} == named
    assert quantity("score", "accuracy") == "score [accuracy]"
    assert quantity("score") == "score"


def test_lists_in_a_label_are_counted_where_they_are_long_and_stay_apart():
    a, b, c = ("a task " + letter * 20 for letter in "abc")
    runs = [manifest(method="full", tasks=tasks) for tasks in ([a, b], [a, c], [a, b, c])]
    found = labelled(table(*runs, label="full"), runs).label.tolist()
    assert found == [f"full, {n} tasks (setting {i})" for i, n in enumerate((2, 2, 3), 1)]
    runs = [manifest(method="full", tasks=tasks) for tasks in (["a", "b"], ["a", "c"])]
    assert labelled(table(*runs, label="full"), runs).label.tolist() == ["full, tasks a, b", "full, tasks a, c"]


def test_settings_that_labels_would_number_are_named_and_others_are_not():
    old, new = (manifest(method="full", model="minilm", task="imdb", **dict.fromkeys("abcd", n)) for n in (1, 2))
    other = manifest(method="lora", model="minilm", task="imdb", e=1)
    assert told_by_number([old, new, other]) == ["a", "b", "c", "d"]
    assert told_by_number([old, new, other], pool=("a",)) == []
    assert told_by_number([old, other]) == []


def test_a_label_names_no_setting_that_a_job_does_not_have_and_one_value_without_brackets():
    runs = [manifest(method="full", **shots) for shots in ({"shots": [32]}, {}, {"shots": [8, 32]})]
    found = labelled(table(*runs, label="full"), runs, pool=("seed",)).label.tolist()
    assert found == ["full, examples of a class 32", "full", "full, examples of a class 8, 32"]
