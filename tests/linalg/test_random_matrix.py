"""Laws of random matrices: derived numbers, published quantiles, and agreement with samples."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from scipy.integrate import quad, simpson
from scipy.stats import kstest

from lab.linalg import (
    MarchenkoPastur,
    gaussian_samples,
    gaussian_singular_values,
    hard_threshold,
    largest_gaussian_singular_value,
    product_interval,
    product_samples,
    tracy_widom_cdf,
    tracy_widom_quantile,
)


def test_edges_of_one_half():
    assert MarchenkoPastur(0.5).edges == pytest.approx((0.08579, 2.91421), abs=1e-5)
    assert MarchenkoPastur(0.5, variance=4.0).edges == pytest.approx((0.34315, 11.65685), abs=1e-5)


@pytest.mark.parametrize("q", [0.02, 0.5, 1.0, 3.0])
def test_cdf_is_the_integral_of_the_density(q):
    law = MarchenkoPastur(q, variance=1.7)
    low, high = law.edges
    for fraction in (0.05, 0.3, 0.8, 1.0):
        x = low + fraction * (high - low)
        area = quad(law.density, low, x, limit=200)[0]
        assert float(law.cdf(x)) == pytest.approx(law.atom + area, abs=1e-10)
    assert float(law.cdf(-1e-9)) == 0
    assert float(law.cdf(high + 1)) == pytest.approx(1.0)
    assert law.density([low / 2 - 1e-9, high * 1.01]).tolist() == [0, 0]
    mean = quad(lambda x: x * float(law.density(x)), low, high, limit=200)[0]
    assert mean == pytest.approx(1.7, abs=1e-8)


@pytest.mark.parametrize("q", [0.3, 1.0, 2.5])
def test_quantiles_invert_the_cdf(q):
    law = MarchenkoPastur(q)
    p = np.linspace(law.atom + 0.01, 0.999, 7)
    np.testing.assert_allclose(law.cdf(law.quantile(p)), p, atol=1e-12)
    if q > 1:
        assert float(law.quantile(law.atom / 2)) == 0.0


def test_expected_singular_values_of_a_gaussian_matrix():
    X = torch.randn(150, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    observed = torch.linalg.svdvals(X).numpy()
    for shape in ((150, 400), (400, 150)):
        # fluctuations of an eigenvalue are O(1/n) in the bulk, n^{-2/3} at the edge
        np.testing.assert_allclose(gaussian_singular_values(*shape, std=0.3), observed, rtol=0.04)
    x = observed**2 / (400 * 0.09)
    assert kstest(x, lambda t: MarchenkoPastur(150 / 400).cdf(t)).statistic < 0.02


def test_tracy_widom_known_quantiles():
    """Published table of F_1 (Johnstone 2001, Bornemann 2010): 0.90, 0.95, 0.99; mean −1.2065, variance 1.6078."""
    for p, s in ((0.90, 0.4501), (0.95, 0.9793), (0.99, 2.0234)):
        assert tracy_widom_quantile(p) == pytest.approx(s, abs=1e-4)
    grid = np.linspace(-9, 9, 181)
    F = np.array([tracy_widom_cdf(s) for s in grid])
    mean = 9 - simpson(F, x=grid)
    second = 81 - simpson(2 * grid * F, x=grid)
    assert mean == pytest.approx(-1.2065, abs=2e-4)
    assert second - mean**2 == pytest.approx(1.6078, abs=5e-4)


def test_finite_size_edge():
    """The 95 % line of σ_1 of 30 × 60 Gaussians is passed by 5 % of them; the bare edge √30 + √60 by far fewer."""
    X = torch.randn(2000, 30, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    largest = torch.linalg.matrix_norm(X, ord=2).numpy()
    line = largest_gaussian_singular_value(30, 60, probability=0.95)
    assert 0.035 < (largest > line).mean() < 0.065
    assert np.median(largest) == pytest.approx(largest_gaussian_singular_value(60, 30), rel=3e-3)
    assert largest_gaussian_singular_value(10**6, 10**6, 0.1) == pytest.approx(0.1 * 2000, rel=1e-3)


def test_product_interval_holds_its_samples_and_marchenko_pastur_does_not():
    m, n, r = 400, 600, 8
    low, high = product_interval(m, n, r, std_left=0.2, std_right=3.0)
    values = product_samples(m, n, r, 0.2, 3.0, n_samples=100)
    assert values.shape == (100, 8)
    assert low < values.min()
    assert values.max() < high
    scale = sqrt(m * n) * 0.6
    assert low == pytest.approx(scale * (1 - sqrt(8 / 400)) * (1 - sqrt(8 / 600)))
    dense_std = 0.6 * sqrt(r)  # the entries of BA have this deviation, but its values are not those of a full matrix
    assert values.max() > 2 * largest_gaussian_singular_value(m, n, dense_std)


def test_bartlett_samples_have_the_law_of_the_product():
    generator = torch.Generator().manual_seed(3)
    B = torch.randn(2000, 12, 3, generator=generator, dtype=torch.float64)
    A = torch.randn(2000, 3, 7, generator=generator, dtype=torch.float64)
    direct = torch.linalg.svdvals(B @ A)[:, :3].numpy()
    ours = product_samples(12, 7, 3, n_samples=2000, generator=4)
    for i in range(3):
        p = np.quantile(direct[:, i], [0.1, 0.5, 0.9])
        np.testing.assert_allclose(np.quantile(ours[:, i], [0.1, 0.5, 0.9]), p, rtol=0.07)
    assert (ours**2).sum(axis=1).mean() == pytest.approx(12 * 7 * 3, rel=0.03)  # E‖BA‖² = m n r


def test_bartlett_samples_of_a_narrow_matrix_have_its_law():
    direct = torch.linalg.svdvals(torch.randn(3000, 9, 3, generator=torch.Generator().manual_seed(3))).numpy()
    ours = gaussian_samples(3, 9, n_samples=3000, generator=4)
    assert ours.shape == (3000, 3)
    np.testing.assert_allclose(
        np.quantile(ours, [0.1, 0.9], axis=0), np.quantile(direct, [0.1, 0.9], axis=0), rtol=0.05
    )


def test_hard_threshold_known_values():
    assert hard_threshold(500, 500, median=2.0) == pytest.approx(2.858 * 2, abs=1e-3)
    assert hard_threshold(500, 500, std=1.0) == pytest.approx(4 / sqrt(3) * sqrt(500))
    # ω(0.5) ≈ 0.56·0.125 − 0.95·0.25 + 1.82·0.5 + 1.43, the cubic of Gavish & Donoho, good to 0.02
    assert hard_threshold(200, 400, median=1.0) == pytest.approx(0.56 / 8 - 0.95 / 4 + 1.82 / 2 + 1.43, abs=0.02)
    assert hard_threshold(200, 400, median=1.0) == hard_threshold(400, 200, median=1.0)


def test_hard_threshold_separates_planted_directions():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 200, generator=generator, dtype=torch.float64)
    spikes = torch.zeros(200, 200, dtype=torch.float64)
    spikes[range(3), range(3)] = torch.tensor([80.0, 70.0, 60.0], dtype=torch.float64)
    values = torch.linalg.svdvals(noise + spikes)
    assert int((values > hard_threshold(200, 200, median=float(values.median()))).sum()) == 3


def test_misuse_is_named():
    with pytest.raises(ValueError, match="Marchenko–Pastur needs q > 0"):
        MarchenkoPastur(0.0)
    with pytest.raises(ValueError, match=r"probabilities lie in \[0, 1\]"):
        MarchenkoPastur(0.5).quantile(1.5)
    with pytest.raises(ValueError, match=r"p must lie in \[1e-6"):
        tracy_widom_quantile(1.0)
    with pytest.raises(ValueError, match=r"needs r <= min\(m, n\)"):
        product_interval(4, 5, 6)
    with pytest.raises(ValueError, match="give exactly one of std"):
        hard_threshold(3, 3)
    with pytest.raises(ValueError, match="m must be an int >= 1"):
        gaussian_singular_values(0, 3)
