from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.func import grad, vmap

from lab.tasks import Examples, Task
from lab.tasks.metrics import ACCURACY, PEARSON


def classification(n_classes=3, n_train=30, n_validation=12):
    def examples(n, name):
        return Examples(tuple(f"{name} {i}" for i in range(n)), tuple(i % n_classes for i in range(n)))

    names = tuple(f"class {c}" for c in range(n_classes))
    return Task("mine", "classification", names, examples(n_train, "t"), examples(n_validation, "v"), ACCURACY)


def regression():
    def examples(name):
        return Examples(tuple(f"{name} {i}" for i in range(20)), tuple(i / 4 for i in range(20)))

    return Task("scores", "regression", (), examples("t"), examples("v"), PEARSON)


def test_cross_entropy_is_the_mean_of_minus_log_p():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1, 0])
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    assert torch.allclose(classification().loss(logits, labels), -p[range(5), labels].log().mean())


def test_uniform_predictions_cost_log_c():
    labels = torch.tensor([0, 1, 2])
    loss = classification().loss(torch.zeros(3, 3, dtype=torch.float64), labels)
    assert torch.allclose(loss, torch.tensor(3.0, dtype=torch.float64).log())


def test_regression_is_the_mean_square():
    logits = torch.tensor([[1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    loss = regression().loss(logits, torch.tensor([0.0, 4.0]))
    assert loss.item() == (1 + 4) / 2
    assert loss.dtype == torch.float64
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.flatten().tolist() == [1.0, -2.0]  # 2(ŷ − y)/n


@pytest.mark.parametrize("task", [classification(), regression()], ids=["classification", "regression"])
def test_loss_works_under_vmap_of_grad(task):
    logits = torch.randn(4, 6, task.num_labels, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(24).reshape(4, 6) % 3 if task.kind == "classification" else torch.rand(4, 6)
    together = vmap(grad(task.loss))(logits, labels)
    alone = torch.stack([grad(task.loss)(x, y) for x, y in zip(logits, labels, strict=True)])
    assert torch.allclose(together, alone)


def test_loss_refuses_other_widths():
    with pytest.raises(ValueError, match=r"expected logits \(2, 3\); got \(2, 2\). Load the PLM with num_labels=3"):
        classification().loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"regression needs logits \(2, 1\) for 2 labels; got \(2, 2\)"):
        regression().loss(torch.zeros(2, 2), torch.tensor([0.0, 1.0]))


def test_num_labels():
    assert classification(4).num_labels == 4
    assert regression().num_labels == 1


def test_subset_is_stratified_nested_and_seeded():
    task = classification()
    small, smaller = task.subset(12, 6, seed=1), task.subset(3, 3, seed=1)
    assert Counter(small.train.labels) == {0: 4, 1: 4, 2: 4}
    assert Counter(small.validation.labels) == {0: 2, 1: 2, 2: 2}
    assert set(smaller.train.texts) <= set(small.train.texts)
    assert task.subset(12, 6, seed=2).train.texts != small.train.texts
    assert task.subset(12, 6, seed=1).fingerprint == small.fingerprint
    assert task.subset().train is task.train


@pytest.mark.parametrize("n", [0, 31])
def test_subset_refuses_sizes(n):
    with pytest.raises(ValueError, match=f"mine has 30 train examples; cannot keep {n}"):
        classification().subset(n_train=n)


def test_at_most_takes_all_where_there_are_fewer():
    task = classification()
    assert task.at_most(12, 300, seed=1).fingerprint == task.subset(12, 12, seed=1).fingerprint
    assert task.at_most().fingerprint == task.fingerprint
    three = replace(task, test=task.validation).at_most(n_validation=3, n_test=11)
    assert [len(examples) for examples in three.splits.values()] == [30, 3, 11]  # who asks for 3 gets 3


@pytest.mark.parametrize(("n_train", "n_validation"), [(300, 5), (9, 300)])
def test_at_most_refuses_fewer_than_an_interval_needs(n_train, n_validation):
    few, n = ("validation", 5) if n_validation == 5 else ("train", 9)
    task = classification(n_train=n_train, n_validation=n_validation)
    with pytest.raises(ValueError, match=f"mine has {n} {few} examples; at least 10 are needed"):
        task.at_most(100, 100)


def test_at_most_keeps_one_training_example_of_each_class():
    with pytest.raises(ValueError, match="mine has 3 classes, and 2 training examples cannot hold one of each; take 3"):
        classification().at_most(n_train=2)
    assert set(classification().at_most(n_train=3).train.labels) == {0, 1, 2}


def test_few_shot_draws_k_per_class_for_train_and_development():
    task = classification()
    shot = task.few_shot(4, seed=13)
    assert shot.name == "mine/4-shot-13"
    assert Counter(shot.train.labels) == Counter(shot.validation.labels) == {0: 4, 1: 4, 2: 4}
    assert set(shot.train.texts) | set(shot.validation.texts) <= set(task.train.texts)
    assert shot.overlap == 0
    assert shot.test is task.validation
    assert task.few_shot(4, seed=21).train.texts != shot.train.texts
    assert task.few_shot(4, seed=13).fingerprint == shot.fingerprint


def test_few_shot_regression_takes_k_from_each_half_of_the_range():
    shot = regression().few_shot(3, seed=0)
    for examples in (shot.train, shot.validation):
        assert sorted(label >= 4.75 / 2 for label in examples.labels) == [False] * 3 + [True] * 3


def test_few_shot_never_repeats_a_text():
    task = replace(classification(2), train=Examples(("a", "a", "b", "c", "d", "d"), (0, 0, 0, 1, 1, 1)))
    for seed in range(10):
        assert task.few_shot(1, seed).overlap == 0


def test_few_shot_refuses_k():
    with pytest.raises(ValueError, match="k must be at least 1; got 0"):
        classification().few_shot(0, 0)
    with pytest.raises(
        ValueError, match=r"6 shots need 12 different training texts per class .* has 10. Choose k <= 5"
    ):
        classification().few_shot(6, 0)


def test_overlap_counts_validation_texts_seen_in_training():
    task = classification()
    leaking = replace(task, validation=Examples(("t 0", "v 1", "t 2"), (0, 1, 2)))
    assert (task.overlap, leaking.overlap) == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ranking"}, 'kind must be "classification" or "regression"; got \'ranking\''),
        ({"kind": "regression"}, "train labels are integers, which does not fit regression"),
        ({"validation": Examples(("a",), (0.5,))}, "validation labels are floats, which does not fit classification"),
        ({"validation": Examples(("a",), (3,))}, "validation data have the label 3, out of range for 3 classes"),
        ({"train": Examples(("a", "b"), (1, 1))}, "every training example has the label 1; .* at least two"),
        ({"test": Examples(("a",), (0,), ("b",))}, "train and test must both hold pairs or both single"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        replace(classification(), **change)


def test_three_splits_share_no_text_and_test_is_what_was_held_out():
    two = classification(n_train=50)
    three = two.with_test()
    assert three.test is two.validation
    assert sorted(three.train.texts + three.validation.texts) == sorted(two.train.texts)
    assert len(three.validation) == 10
    assert not set(three.train.texts) & set(three.validation.texts)
    assert three.with_test() is three
    assert two.with_test().fingerprint == three.fingerprint


def test_the_test_data_are_cut_to_size_or_kept_whole():
    three = classification().with_test()
    assert len(three.subset(n_test=6).test) == 6
    assert Counter(three.subset(n_test=6).test.labels) == {0: 2, 1: 2, 2: 2}
    assert len(three.subset(n_test=1000).test) == len(three.test)
    assert classification().subset(n_test=6).test is None
