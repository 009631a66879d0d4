from __future__ import annotations

import torch

from lab.geometry.closed_forms import (
    function_space_gaps,
    grouped_sums_loss,
    grouped_sums_minimum,
    lipschitz_gap,
    subspace_minimum,
)
from lab.linalg import Matrix
from lab.projections import Gaussian


def test_quadratic_gap_is_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    R, e = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in [(8, 8), (8,)])
    A = R @ R.T + torch.eye(8, dtype=torch.float64)
    P = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    phi, gap = subspace_minimum(A, Matrix(P), e)
    AP = A @ P
    closed = 0.5 * e @ (A - AP @ torch.linalg.inv(P.T @ AP) @ AP.T) @ e
    torch.testing.assert_close(gap, closed)
    torch.testing.assert_close(AP.T @ (e - P @ phi), torch.zeros(3, dtype=torch.float64))  # stationary


def test_isotropic_quadratic_loses_one_minus_d_over_D():
    D, d, e = 60, 15, torch.ones(60, dtype=torch.float64)
    gaps = []
    for seed in range(200):
        P = Matrix(torch.randn(D, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        gaps.append(subspace_minimum(torch.eye(D, dtype=torch.float64), P, e)[1])
    expected = 0.5 * D * (1 - d / D)
    assert abs(torch.stack(gaps).mean() / expected - 1) < 0.02  # 200 draws: standard error 0.5 %


def test_li_toy_below_ten_dimensions_has_the_expected_minimum():
    start = float(grouped_sums_loss(torch.zeros(1000, dtype=torch.float64)))
    assert start == 192.5
    for d in (3, 9):
        minima = [float(grouped_sums_minimum(Gaussian(1000, d, seed=seed))) for seed in range(60)]
        ratio = sum(minima) / len(minima) / start
        assert abs(ratio - (1 - d / 10)) < 0.08  # 60 draws
    assert all(float(grouped_sums_minimum(Gaussian(1000, 10, seed=seed))) < 1e-10 for seed in range(5))


def test_lipschitz_bound_holds_and_is_not_vacuous():
    """dist(e, range P) is the bound; F is at least half of it, since ‖θ − θ⁺‖ alone is."""
    for seed in range(20):
        gap, bound = lipschitz_gap(seed=seed)
        assert 0.5 * bound <= gap <= bound + 1e-12
    gap, bound = lipschitz_gap(D=10, d=10)  # the subspace is everything: nothing is lost
    assert abs(gap) < 1e-7
    assert bound < 1e-12


def test_uniformly_close_functions_have_close_minima():
    found = [function_space_gaps(seed=seed) for seed in range(50)]
    assert all(values <= near + 1e-12 and -1e-12 <= regret <= 2 * near for values, regret, near in found)
    assert max(values / near for values, _, near in found) > 0.5  # the bounds bite
    assert all(abs(near - 0.3) < 1e-12 for _, _, near in found)
