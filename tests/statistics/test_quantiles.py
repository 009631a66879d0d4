"""Quantiles against scipy.stats, which the package does without."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from scipy import stats

from lab.statistics import rank_correlation, ranks
from lab.statistics.quantiles import beta, chi_squared_tail, normal, student_t, studentized_range


@pytest.mark.parametrize("p", [0.025, 0.5, 0.8, 0.975])
def test_quantiles_are_those_of_scipy(p):
    assert normal(p) == pytest.approx(stats.norm.ppf(p), abs=1e-12)
    assert student_t(p, 1.7) == pytest.approx(stats.t.ppf(p, 1.7), abs=1e-12)
    assert beta(p, 3, 8) == pytest.approx(stats.beta.ppf(p, 3, 8), abs=1e-12)


@pytest.mark.parametrize("k", [2, 3, 10, 40])
@pytest.mark.parametrize("p", [0.05, 0.9, 0.95, 0.999])
def test_the_studentised_range_is_that_of_scipy(k, p):
    assert studentized_range(p, k) == pytest.approx(stats.studentized_range.ppf(p, k, inf), rel=1e-6)


def test_two_normals_differ_by_root_two_normal():
    assert studentized_range(0.95, 2) == pytest.approx(np.sqrt(2) * normal(0.975), abs=1e-10)


def test_tails_of_chi_squared_are_those_of_scipy():
    assert chi_squared_tail(7.3, 4) == pytest.approx(stats.chi2.sf(7.3, 4), abs=1e-12)


def test_ranks_and_their_correlation_are_those_of_scipy_with_ties_too():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 20), rng.integers(0, 5, 20)
    assert ranks(x) == pytest.approx(stats.rankdata(x))
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
