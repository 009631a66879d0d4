"""The predicted d90 curve of a quadratic against simulated random subspaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.geometry.closed_forms import subspace_minimum
from lab.geometry.predicted_dimension import krylov_spectrum, predicted_intrinsic_dimension, resolution
from lab.linalg import Matrix


def simulated(spectrum: np.ndarray, e: np.ndarray, d: int, n_draws: int = 100) -> float:
    """Mean recovered share over Gaussian subspaces."""
    A, target = torch.diag(torch.from_numpy(spectrum)), torch.from_numpy(e)
    start = 0.5 * float(target @ A @ target)
    minima = []
    for seed in range(n_draws):
        P = torch.randn(len(e), d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        minima.append(float(subspace_minimum(A, Matrix(P), target)[1]))
    return 1 - float(np.mean(minima)) / start


def test_identity_loses_one_minus_d_over_D():
    found = predicted_intrinsic_dimension(np.ones(60), dimensions=[0, 6, 15, 45, 60])
    np.testing.assert_allclose([share for _, share in found.curve], [0, 0.1, 0.25, 0.75, 1], atol=1e-9)
    assert (found.d, found.start) == (54, 30.0)
    assert found.participation_ratio == pytest.approx(60)


@pytest.mark.parametrize("d", [8, 20, 60])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_power_law_agrees_with_simulation(d, power):
    spectrum = np.arange(1.0, 101) ** -power
    e = np.random.default_rng(0).standard_normal(100)
    predicted = predicted_intrinsic_dimension(spectrum, e, dimensions=[d]).curve[0][1]
    assert abs(predicted - simulated(spectrum, e, d)) < 0.025  # noise of 100 draws, and the equivalent's own error


def test_few_stiff_directions_need_few_dimensions():
    """Five eigenvalues of 1 and 95 of 1e-4, e isotropic: d90 a little above 5, far below D."""
    spectrum = np.r_[np.ones(5), np.full(95, 1e-4)]
    found = predicted_intrinsic_dimension(spectrum)
    assert 5 <= found.d <= 8
    reached = {d: simulated(spectrum, np.ones(100), d) for d in (found.d - 2, found.d + 2)}
    assert reached[found.d - 2] < 0.9 < reached[found.d + 2]


def test_zero_curvature_costs_nothing_and_scale_does_not_matter():
    spectrum = np.array([3.0, 2.0, 1.0])
    given = predicted_intrinsic_dimension(spectrum, D=1000, dimensions=[1, 2, 3, 1000])
    filled = predicted_intrinsic_dimension(
        np.r_[
            7 * spectrum,
            np.zeros(997),
        ],
        dimensions=[1, 2, 3, 1000],
    )
    np.testing.assert_allclose(given.curve, filled.curve, atol=1e-9)
    assert given.curve[2][1] == given.curve[3][1] == 1
    assert given.d == filled.d == 3


def test_displacement_along_stiff_directions_needs_fewer():
    spectrum = np.arange(1.0, 101) ** -1.0
    stiff, soft = np.r_[np.ones(5), np.zeros(95)], np.r_[np.zeros(95), np.ones(5)]
    assert predicted_intrinsic_dimension(spectrum, stiff).d < predicted_intrinsic_dimension(spectrum, soft).d


def test_curve_rises_and_the_answer_is_on_it():
    spectrum = np.exp(-np.arange(50.0))
    found = predicted_intrinsic_dimension(spectrum, dimensions=range(51))
    shares = [share for _, share in found.curve]
    assert (np.diff(shares) >= -1e-12).all()
    assert shares[found.d - 1] < 0.9 <= shares[found.d]
    kappa = resolution(spectrum, 7)
    assert (spectrum / (spectrum + kappa)).sum() == pytest.approx(7)
    assert predicted_intrinsic_dimension(spectrum).curve[-1][0] == 50


def test_refusals():
    for eigenvalues in ([], [np.nan], np.ones((2, 2))):
        with pytest.raises(ValueError, match="non-empty finite vector"):
            predicted_intrinsic_dimension(eigenvalues)
    with pytest.raises(ValueError, match="D must be at least the number of eigenvalues, 3; got 2"):
        predicted_intrinsic_dimension(np.ones(3), D=2)
    with pytest.raises(ValueError, match=r"fraction must lie in \(0, 1\); got 1"):
        predicted_intrinsic_dimension(np.ones(3), fraction=1)
    with pytest.raises(ValueError, match="displacement must be finite"):
        predicted_intrinsic_dimension(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="no positive curvature"):
        predicted_intrinsic_dimension([-1.0, 0.0])
    with pytest.raises(ValueError, match=r"dimensions must lie in \[0, D = 3\]"):
        predicted_intrinsic_dimension(np.ones(3), dimensions=[4])


def test_krylov_spectrum_has_the_moments_of_the_displacement():
    spectrum = torch.arange(1.0, 41, dtype=torch.float64) ** -1
    e = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, coordinates = krylov_spectrum(Matrix(torch.diag(spectrum)), e, 6)
    assert len(values) == len(coordinates) == 6
    for power in range(12):  # degree 2·6 − 1
        expected = float((spectrum**power * e**2).sum())
        assert float((values**power * coordinates**2).sum()) == pytest.approx(expected)


def test_full_krylov_space_predicts_as_the_spectrum_does():
    spectrum = np.arange(1.0, 21) ** -1.5
    e = np.random.default_rng(1).standard_normal(20)
    exact = predicted_intrinsic_dimension(spectrum, e, dimensions=range(21))
    found = krylov_spectrum(Matrix(torch.diag(torch.from_numpy(spectrum))), torch.from_numpy(e), 20)
    by_products = predicted_intrinsic_dimension(*found, dimensions=range(21))
    np.testing.assert_allclose(by_products.curve, exact.curve, atol=1e-8)
