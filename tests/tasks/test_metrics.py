import math

import pytest
import torch
from scipy import stats

from lab.tasks import METRICS
from lab.tasks.metrics import ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN


def one_hot(classes, n=2):
    return torch.nn.functional.one_hot(torch.tensor(classes), n).double()


# 3 true positives, 1 false positive, 2 false negatives, 4 true negatives
PREDICTED = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
LABELS = torch.tensor([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("metric", "by_hand"),
    [
        (ACCURACY, 7 / 10),
        (F1, 2 * 3 / (2 * 3 + 1 + 2)),
        (MATTHEWS, (3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6)),
    ],
)
def test_confusion_table_by_hand(metric, by_hand):
    assert metric(one_hot(PREDICTED), LABELS) == pytest.approx(by_hand, rel=1e-14)


def test_matthews_is_pearson_of_the_classes():
    expected = stats.pearsonr(PREDICTED, LABELS.numpy()).statistic
    assert MATTHEWS(one_hot(PREDICTED), LABELS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_equal_scipy(ties):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, generator=generator, dtype=torch.float64), torch.rand(50, generator=generator)
    if ties:
        x, y = (3 * x).round(), (5 * y).round()
    assert PEARSON(x[:, None], y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert SPEARMAN(x[:, None], y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert PEARSON(x, y) == PEARSON(x[:, None], y)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_perfect_predictions_reach_the_top_of_the_range(metric):
    labels = torch.tensor([0, 1, 1, 0, 1])
    logits = labels[:, None].double() if "correlation; " in metric.unit else one_hot(labels.tolist())
    assert metric(logits, labels) == pytest.approx(metric.high, abs=1e-14)


@pytest.mark.parametrize("metric", [F1, MATTHEWS])
def test_one_class_never_predicted_scores_zero(metric):
    assert metric(one_hot([0, 0, 0]), torch.tensor([0, 1, 1])) == 0.0


@pytest.mark.parametrize("metric", [PEARSON, SPEARMAN])
def test_constant_predictions_score_zero(metric):
    assert metric(torch.full((7,), 0.1), torch.arange(7.0)) == 0.0
    assert metric(torch.arange(7.0), torch.full((7,), 0.3)) == 0.0


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_logits_that_are_not_finite_score_nan(metric):
    assert math.isnan(metric(torch.tensor([[0.0, float("nan")], [1.0, 0.0]]), torch.tensor([0, 1])))


@pytest.mark.parametrize(("logits", "labels"), [((0, 2), (0,)), ((3, 2), (4,)), ((3, 2), (3, 1)), ((1, 3, 2), (1,))])
def test_refuses_shapes(logits, labels):
    with pytest.raises(ValueError, match=r"accuracy needs logits \(N, c\)"):
        ACCURACY(torch.zeros(logits), torch.zeros(labels))
