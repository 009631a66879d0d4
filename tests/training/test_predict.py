"""What a φ says of texts is what its score was computed from; classes are named as the source names them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lab.deltas import LoRA
from lab.models.tiny import tiny_plm
from lab.tasks import Examples, load_task
from lab.training import evaluate, predict


@pytest.fixture(scope="module")
def task():
    return replace(load_task("bbc-news").subset(32, 20, seed=0), label_values=("b", "e", "p", "s", "t"))


@pytest.fixture(scope="module")
def trained(task):
    delta = LoRA(rank=2).on(tiny_plm("bert", num_labels=task.num_labels), seed=0)
    drawn = torch.randn(delta.size, dtype=delta.phi0.dtype, generator=torch.Generator().manual_seed(0))
    return delta, delta.phi0 + drawn


def test_the_share_that_is_right_is_the_accuracy(task, trained):
    encoded = task.encode(trained[0].plm, max_length=16)
    said = predict(*trained, task.validation.texts, encoded, batch_size=7)
    right = [
        task.label_values.index(word) == label
        for word, label in zip(said.prediction, task.validation.labels, strict=True)
    ]
    assert sum(right) / len(right) == pytest.approx(evaluate(trained[0], encoded, trained[1], "validation")[1])
    p = said.filter(like="p(")
    assert list(p) == ["p(b)", "p(e)", "p(p)", "p(s)", "p(t)"]
    assert p.sum(axis=1).to_numpy() == pytest.approx(1)
    assert said.text.tolist() == list(task.validation.texts)


def test_one_text_is_one_row(task, trained):
    assert len(predict(*trained, "The match ended one to one.", task)) == 1


def test_numbers_are_predicted_as_they_are_and_pairs_have_two_texts(task):
    texts = Examples(("a", "b", "c"), (0.5, 1.0, 1.5), ("d", "e", "f"))
    graded = replace(task, kind="regression", labels=(), label_values=(), train=texts, validation=texts)
    delta = LoRA(rank=2).on(tiny_plm("bert", num_labels=1), seed=0)
    said = predict(delta, delta.phi0, ["a", "b"], graded, pairs=["d", "e"])
    batch = graded.encode(delta.plm).train.batch(torch.tensor([0, 1]).numpy())
    assert said.prediction.to_numpy() == pytest.approx(delta.logits(delta.phi0, batch).reshape(-1).tolist())
    assert list(said) == ["text", "pair", "prediction"]
    with pytest.raises(ValueError, match="a task of pairs; give pairs="):
        predict(delta, delta.phi0, ["a"], graded)


def test_misuse_is_answered(task, trained):
    with pytest.raises(ValueError, match="a task of single texts"):
        predict(*trained, ["a"], task, pairs=["b"])
    with pytest.raises(TypeError, match=r"texts and the task, in this order; got str"):
        predict(*trained, ["a"], "bbc-news")
    with pytest.raises(ValueError, match="no examples"):
        predict(*trained, [], task)
