"""Dimensions of planted clouds, and CKA by hand: squared correlation, invariances, the unbiased estimator's zero."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from lab.geometry.layers import calibration_table, layer_dimensions
from lab.geometry.representation import (
    CALIBRATED,
    ESTIMATORS,
    calibration,
    linear_cka,
    read_against,
    representation_dimension,
    shuffled_cka,
)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_planted_subspace_is_found(estimator):
    pytest.importorskip("skdim")
    points = torch.rand(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(gaussian(30, 5)).Q
    found = representation_dimension(points @ basis.T, estimator)
    assert abs(found.dimension - 5) < 0.8  # TwoNN's error at 400 points is 5 %; the cube's faces bias all down
    assert found.low <= found.dimension <= found.high
    assert found.n_points == 400
    again = representation_dimension(torch.cat([points, points]) @ basis.T, estimator)
    assert again == representation_dimension(points @ basis.T, estimator)  # repeated points count once


def test_distances_among_three_hundred_points_level_off():
    """GRIDE says about 12 of a dimension of 20, 20 of 40 and 27 of 80: a number near 27 says "large" and no more."""
    pytest.importorskip("skdim")
    said = dict(zip(CALIBRATED, calibration(300, "GRIDE"), strict=True))
    assert said[2] == pytest.approx(2, abs=0.4)
    assert said[20] == pytest.approx(12, abs=2.5)
    assert said[40] == pytest.approx(20, abs=4)
    assert said[80] == pytest.approx(27, abs=6)


@pytest.mark.parametrize("estimator", ["GRIDE", "MLE"])
def test_an_estimate_is_read_as_the_dimension_of_the_cloud_that_gives_it(estimator):
    pytest.importorskip("skdim")
    for true, said in zip(CALIBRATED, calibration(120, estimator), strict=True):
        assert read_against(said, 120, estimator) == pytest.approx(true, rel=1e-9)
    assert read_against(1e6, 120, estimator) == float("inf")
    assert read_against(1e-6, 120, estimator) == CALIBRATED[0]
    middle = read_against((calibration(120, estimator)[3] * calibration(120, estimator)[4]) ** 0.5, 120, estimator)
    assert middle == pytest.approx((CALIBRATED[3] * CALIBRATED[4]) ** 0.5)  # between in logarithms


def test_layers_are_read_against_clouds_of_as_many_points():
    pytest.importorskip("skdim")
    table = layer_dimensions({"pre-trained": [gaussian(120, 20)]}).set_index("estimator")
    assert 12 < table.gaussian["GRIDE"] < 33  # another cloud of dimension 20, of 120 points
    assert table.gaussian["GRIDE"] > 1.3 * table.dimension["GRIDE"]
    known = calibration_table(table.reset_index())
    assert set(known.n_points) == {120}
    assert known[known.estimator == "MLE"].said.tolist() == list(calibration(120, "MLE"))


def test_bounds_are_positive_however_few_the_points():
    """Two neighbours of 40 points in 60 dimensions say little: the bounds are far apart, and still dimensions."""
    pytest.importorskip("skdim")
    for seed in range(5):
        found = representation_dimension(gaussian(40, 60, seed=seed), "TwoNN")
        assert 0 < found.low < found.dimension < found.high
        assert found.dimension / found.low == pytest.approx(found.high / found.dimension)


def test_cka_of_single_columns_is_the_squared_correlation():
    """x = (1, −1, 0), y = (1, 0, −1): ⟨x, y⟩² / (‖x‖²‖y‖²) = 1/4."""
    x, y = torch.tensor([[1.0], [-1], [0]]), torch.tensor([[1.0], [0], [-1]])
    assert linear_cka(x, y, unbiased=False) == pytest.approx(0.25)
    x, y = gaussian(50, 1), gaussian(50, 1, seed=1)
    assert linear_cka(x, y, unbiased=False) == pytest.approx(np.corrcoef(x.T, y.T)[0, 1] ** 2)


def test_cka_equals_its_definition_on_features():
    X, Y = gaussian(20, 4), gaussian(20, 3, seed=1)
    Xc, Yc = X - X.mean(0), Y - Y.mean(0)
    expected = (Yc.T @ Xc).norm() ** 2 / ((Xc.T @ Xc).norm() * (Yc.T @ Yc).norm())
    assert linear_cka(X, Y, unbiased=False) == pytest.approx(float(expected))


def test_unbiased_hsic_is_the_sum_over_distinct_examples():
    """Song et al. 2012: the mean of k(1,2)·(l(1,2) + l(3,4) − 2·l(1,3)) over all distinct quadruples."""
    X, Y = gaussian(6, 2), gaussian(6, 3, seed=1)

    def hsic(A: torch.Tensor, B: torch.Tensor) -> float:
        K, L = A @ A.T, B @ B.T
        n, terms = len(A), []
        for i in range(n):
            for j in {*range(n)} - {i}:
                for q in {*range(n)} - {i, j}:
                    for r in {*range(n)} - {i, j, q}:
                        terms.append(float(K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])))
        return float(np.mean(terms))

    expected = hsic(X, Y) / np.sqrt(hsic(X, X) * hsic(Y, Y))
    assert linear_cka(X, Y) == pytest.approx(expected)


@pytest.mark.parametrize("unbiased", [True, False])
def test_cka_is_invariant_and_one_on_the_diagonal(unbiased):
    X, Y = gaussian(30, 8), gaussian(30, 5, seed=1)
    turned = 3 * X @ torch.linalg.qr(gaussian(8, 8, seed=2)).Q + 7
    assert linear_cka(X, X, unbiased=unbiased) == pytest.approx(1)
    assert linear_cka(turned, Y, unbiased=unbiased) == pytest.approx(linear_cka(X, Y, unbiased=unbiased))
    assert linear_cka(X, Y, unbiased=unbiased) == pytest.approx(linear_cka(Y, X, unbiased=unbiased))


def test_independent_wide_clouds_are_alike_only_to_the_plain_estimator():
    values = [
        (linear_cka(gaussian(40, 200, seed=s), gaussian(40, 200, seed=s + 100)),
         linear_cka(gaussian(40, 200, seed=s), gaussian(40, 200, seed=s + 100), unbiased=False))
        for s in range(20)
    ]  # fmt: skip
    honest, plain = np.mean(values, axis=0)
    assert abs(honest) < 0.02
    assert plain > 0.7


def test_shuffled_rows_are_the_null():
    X = gaussian(60, 10)
    Y = X + 0.1 * gaussian(60, 10, seed=1)
    null = shuffled_cka(X, Y, n_shuffles=15)
    assert null.shape == (15,)
    assert abs(float(null.mean())) < 0.05 < 0.9 < linear_cka(X, Y)
    assert torch.equal(null, shuffled_cka(X, Y, n_shuffles=15))


def test_refusals(monkeypatch):
    X = gaussian(50, 3)
    with pytest.raises(ValueError, match="estimator must be one of"):
        representation_dimension(X, "ESS")
    for points in (X[:10], X[:10].repeat(10, 1), torch.full((50, 3), float("inf")) * X, X[0]):
        with pytest.raises(ValueError, match="at least 40 distinct finite points"):
            representation_dimension(points, "MLE")
    for other in (X[:-1], X[0]):
        with pytest.raises(ValueError, match="CKA needs two matrices with the same rows, at least 4"):
            linear_cka(X, other)
    for unbiased in (True, False):
        with pytest.raises(ValueError, match="the same for all examples"):
            linear_cka(X, torch.ones(50, 2), unbiased=unbiased)
    monkeypatch.setitem(sys.modules, "skdim", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'deltalab\[dimension\]'"):
        representation_dimension(X, "MLE")
