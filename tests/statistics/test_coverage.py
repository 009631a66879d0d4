"""How often every interval covers the truth: at few trials here, in full under `slow`."""

from __future__ import annotations

from math import asin, inf, pi, sqrt

import numpy as np
import pytest

from lab.statistics import (
    Interval,
    cluster_interval,
    clustered_proportion,
    greatest_of,
    least_of,
    mean_interval,
    pair_interval,
    proportion_interval,
    rank_correlation_interval,
    stratified_interval,
    stratified_rank_correlation,
)

FEW, MANY = 100, 2000


def seeds(n):
    """Scores over seeds."""

    def draw(rng):
        return mean_interval((0.8 + 0.05 * rng.standard_normal(n)).tolist()), 0.8

    return draw


def accuracies(n, examples=64):
    """Accuracies over few examples: many ties, and seeds that agree by rounding."""

    def draw(rng):
        return mean_interval((rng.binomial(examples, 0.9, n) / examples).tolist(), resolution=1 / examples), 0.9

    return draw


def clusters(n):
    """Six methods that share n seeds, whose effect is larger than what the methods add."""

    def draw(rng):
        shared = rng.standard_normal(n)
        return cluster_interval({i: 1 + shared[i] + 0.3 * rng.standard_normal(6) for i in range(n)}), 1.0

    return draw


def pairs(n):
    """A similarity of every two of n runs, each of which is more alike to all or less."""

    def draw(rng):
        unit = rng.standard_normal(n)
        found = {(i, j): 1 + unit[i] + unit[j] + 0.3 * rng.standard_normal() for i in range(n) for j in range(i)}
        return pair_interval({"one PLM": found}), 1.0

    return draw


def strata(n):
    """Three fixed tasks, n seeds each, one task noisier than the others."""

    def draw(rng):
        groups = {str(i): (i + sd * rng.standard_normal(n)).tolist() for i, sd in enumerate((0.1, 0.1, 0.5))}
        return stratified_interval(groups), 1.0

    return draw


def leasts(n):
    """The least of six differences that share n tasks; four of them are the least of all."""

    def draw(rng):
        shared = 0.05 * rng.standard_normal(n)
        truths = (0.0, 0.0, 0.0, 0.0, 0.02, 0.1)
        samples = {str(k): (m + shared + 0.05 * rng.standard_normal(n)).tolist() for k, m in enumerate(truths)}
        return least_of({name: mean_interval(values) for name, values in samples.items()}), 0.0

    return draw


def orders(n):
    """What the best of six orders gains over their average, n seeds for all; three share the first place."""

    def draw(rng):
        truths = 0.02 * np.array([0.0, 0.0, 1.0, 2.0, 2.0, 2.0])
        scores = truths + 0.03 * rng.standard_normal((n, 1)) + 0.03 * rng.standard_normal((n, 6))
        above = scores - scores.mean(axis=1, keepdims=True)
        gains = {str(k): mean_interval(above[:, k].tolist()) for k in range(6)}
        return greatest_of(gains), truths.max() - truths.mean()

    return draw


def proportions(n):
    def draw(rng):
        return proportion_interval(int(rng.binomial(n, 0.8)), n), 0.8

    return draw


def states(n):
    """Five targets after each of n texts; texts differ in how easily they are forced (beta-binomial, mean 0.7)."""

    def draw(rng):
        ease = rng.beta(2.8, 1.2, n)
        return clustered_proportion({i: rng.binomial(1, p, 5).tolist() for i, p in enumerate(ease)}), 0.7

    return draw


def correlated(rng, n, r):
    x = rng.standard_normal(n)
    return x, r * x + sqrt(1 - r * r) * rng.standard_normal(n)


def spearman(n, r=0.5, steps=0):
    """Pairs from a bivariate normal; with `steps`, rounded to so many a standard deviation: ties."""

    def draw(rng):
        x, y = correlated(rng, n, r)
        if steps:
            x, y = np.round(x * steps), np.round(y * steps)
        return rank_correlation_interval(x.tolist(), y.tolist()), 6 / pi * asin(r / 2)

    return draw


def ranked_methods(n, r, shared):
    """n methods on three tasks and all but two of them on a fourth; a share of both variances is the method's own."""

    def draw(rng):
        x, y, strata, units = [], [], [], []
        a, b = correlated(rng, n, r)
        for task, many in enumerate((n, n, n, n - 2)):
            chosen = rng.permutation(n)[:many]
            c, d = correlated(rng, many, r)
            x += (sqrt(shared) * a[chosen] + sqrt(1 - shared) * c).tolist()
            y += (sqrt(shared) * b[chosen] + sqrt(1 - shared) * d).tolist()
            strata += [task] * many
            units += chosen.tolist()
        return stratified_rank_correlation(x, y, strata=strata, units=units), 6 / pi * asin(r / 2)

    return draw


METHODS = ((10, 0.0, 0.0), (10, 0.0, 1.0), (10, 0.5, 0.8), (10, 0.9, 0.8), (6, 0.0, 0.8), (6, 0.5, 0.8))

CASES = {
    **{f"mean of {n} seeds": seeds(n) for n in (2, 3, 5, 10)},
    **{f"mean of {n} accuracies over 64 examples": accuracies(n) for n in (2, 3, 5, 10)},
    **{f"mean over {n} seeds of six methods": clusters(n) for n in (2, 3, 5, 10)},
    **{f"mean over pairs of {n} runs": pairs(n) for n in (3, 4, 5, 10)},
    **{f"mean of three fixed tasks, {n} seeds": strata(n) for n in (2, 3, 5, 10)},
    **{f"least of six means over {n} tasks": leasts(n) for n in (3, 5, 10)},
    **{f"gain of the best of six orders over {n} seeds": orders(n) for n in (5, 10, 24)},
    **{f"share of {n} trials": proportions(n) for n in (2, 5, 10, 40)},
    **{f"share of five targets of {n} texts": states(n) for n in (2, 4, 10)},
    **{f"Spearman's ρ = 0.48 of {n} pairs": spearman(n) for n in (4, 6, 10, 30)},
    **{f"Spearman's ρ = 0 of {n} pairs": spearman(n, 0.0) for n in (4, 6, 10)},
    **{f"Spearman's ρ = 0.89 of {n} pairs": spearman(n, 0.9) for n in (6, 10)},
    "Spearman's ρ = 0.48 of 10 pairs, tied": spearman(10, steps=1),
    **{
        f"ρ = {r} within 4 tasks, {n} methods, {shared:.0%} the method's": ranked_methods(n, r, shared)
        for n, r, shared in METHODS
    },
}


def covered(draw, trials: int) -> float:
    found = [draw(np.random.default_rng(trial)) for trial in range(trials)]
    return float(np.mean([interval.low <= truth <= interval.high for interval, truth in found]))


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover(case):
    assert covered(CASES[case], FEW) >= 0.88  # of a coverage of 0.95 a hundred trials stay below with probability 0.002


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_as_often_as_they_say(case):
    assert covered(CASES[case], MANY) >= 0.93


def test_taking_what_shares_a_seed_as_independent_does_not_cover():
    def naive(rng):
        shared = rng.standard_normal(3)
        return mean_interval([1 + shared[i] + 0.3 * e for i in range(3) for e in rng.standard_normal(6)]), 1.0

    assert covered(naive, FEW) < 0.75


def test_choosing_an_order_on_all_seeds_but_one_does_not_cover():
    """Six orders alike: the best on the others gains nothing on the one left out, but all choices share their seeds."""

    def left_out(rng):
        scores = 0.03 * rng.standard_normal((8, 6))
        best = [int(np.delete(scores, seed, axis=0).mean(axis=0).argmax()) for seed in range(8)]
        return mean_interval([float(scores[i, k] - scores[i].mean()) for i, k in enumerate(best)]), 0.0

    assert covered(left_out, FEW) < 0.85


def test_pooled_ranks_of_strata_of_different_size_correlate_without_cause():
    """Independence, but ranks run to ten in three strata and to six in one: pooled, the mean of ρ is not 0."""
    pooled, centred = [], []
    for trial in range(400):
        rng = np.random.default_rng(trial)
        sizes = (10, 10, 10, 6)
        x, y = ([rng.standard_normal(n) for n in sizes] for _ in range(2))
        ranks = [np.concatenate([np.argsort(np.argsort(part)) + 1.0 for part in side]) for side in (x, y)]
        pooled.append(rank_correlation_interval(*map(list, ranks)).estimate)
        labels = [task for task, n in enumerate(sizes) for _ in range(n)]
        units = [unit for n in sizes for unit in range(n)]
        flat = [np.concatenate(side).tolist() for side in (x, y)]
        centred.append(stratified_rank_correlation(*flat, strata=labels, units=units).estimate)
    assert np.mean(pooled) == pytest.approx(0.07, abs=0.03)
    assert np.mean(centred) == pytest.approx(0.0, abs=0.02)


def test_ranks_within_one_stratum_are_spearmans():
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(12).tolist() for _ in range(2))
    found = stratified_rank_correlation(x, y, strata=["a"] * 12, units=range(12))
    assert found.estimate == pytest.approx(rank_correlation_interval(x, y).estimate)
    assert found.n == 12


def test_few_units_and_constants_bound_nothing():
    x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    found = stratified_rank_correlation(x, x, strata=[0] * 6, units=[0, 0, 1, 1, 2, 2])
    assert found == Interval(pytest.approx(1.0), -1.0, 1.0, 3)
    constant = stratified_rank_correlation([1.0] * 6, x, strata=[0] * 6, units=range(6))
    assert np.isnan(constant.estimate)
    assert (constant.low, constant.high) == (-inf, inf)


def test_a_perfect_order_of_few_methods_proves_no_perfect_correlation():
    x = list(range(1, 6)) * 4
    found = stratified_rank_correlation(x, x, strata=[s for s in range(4) for _ in range(5)], units=list(range(5)) * 4)
    assert found.estimate == pytest.approx(1.0)
    assert 0.3 < found.low < 0.95


def test_pairs_without_a_unit_are_refused():
    with pytest.raises(ValueError, match="got 3 and 3 values, 3 strata and 2 units"):
        stratified_rank_correlation([1, 2, 3], [1, 2, 3], strata=[0, 0, 0], units=[0, 1])
