"""The ratio of two means: against its definition, and beside the mean of ratios that it replaces."""

from __future__ import annotations

from math import inf, isnan

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from lab.statistics import Interval, mean_interval, ratio_interval
from lab.statistics.comparison import share_over_tasks
from lab.statistics.learned import learned

A, G = [0.11, 0.30, 0.02, 0.19, 0.25], [0.2, 0.41, 0.03, 0.33, 0.52]


def test_its_ends_are_the_ratios_that_a_t_test_just_rejects():
    found = ratio_interval(A, G)
    assert found.estimate == pytest.approx(sum(A) / sum(G))
    for end in (found.low, found.high):
        assert ttest_1samp(np.array(A) - end * np.array(G), 0.0).pvalue == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.96])
def test_at_every_level(level):
    found = ratio_interval(A, G, level)
    assert ttest_1samp(np.array(A) - found.low * np.array(G), 0.0).pvalue == pytest.approx(1 - level, rel=1e-9)


def test_its_p_of_no_share_is_that_of_the_paired_t_test():
    assert ratio_interval(A, G).p_value(0.0) == pytest.approx(ttest_1samp(A, 0.0).pvalue, rel=1e-6)


@pytest.mark.parametrize("g", [[0.3, -0.2, 0.1, 0.4, -0.1], [0.05, 0.9, 0.01, 0.02, 0.03]])
def test_where_the_gain_itself_is_not_sure_one_side_is_bounded(g):
    """Nothing bounds the share from above then; what is rejected from below rejects what lies below it."""
    assert ttest_1samp(g, 0.0).pvalue > 0.05
    found = ratio_interval(A, g)
    assert found.p_value(0.0) <= ttest_1samp(A, 0.0).pvalue * (1 + 1e-6)
    assert (found.low > 0, found.high) == (True, inf)
    assert ttest_1samp(np.array(A) - found.low * np.array(g), 0.0).pvalue == pytest.approx(0.05, rel=1e-9)
    negative = ratio_interval([-a for a in A], g)
    assert (negative.low, negative.high) == (-inf, -found.low)


def test_ratios_that_agree_have_no_width_and_scale_cancels():
    found = ratio_interval([0.2, 0.25, 0.3], [0.4, 0.5, 0.6])
    assert (found.low, found.estimate, found.high) == pytest.approx((0.5, 0.5, 0.5))
    one, other = ratio_interval(A, G), ratio_interval([1e-8 * a for a in A], [1e-8 * g for g in G])
    assert (other.low, other.high) == pytest.approx((one.low, one.high))


def test_what_is_whole_in_every_unit_is_the_interval_of_the_mean():
    found, by_hand = ratio_interval(A, [2.0] * 5), mean_interval(A).scaled(0.5)
    assert (found.low, found.high) == pytest.approx((by_hand.low, by_hand.high))


def test_without_a_gain_there_is_nothing_to_take_a_share_of():
    open_one = ratio_interval([0.1, 0.2, -0.1], [0.3, -0.2, 0.1])
    assert (open_one.low, open_one.high, open_one.n) == (-inf, inf, 3)
    below = ratio_interval([0.1, 0.2], [-0.3, -0.2])
    assert isnan(below.estimate)
    assert (below.low, below.high) == (-inf, inf)
    alone = ratio_interval([0.1], [0.2])
    assert (alone.estimate, alone.low, alone.high) == (0.5, -inf, inf)


def test_pairs_are_asked_for():
    with pytest.raises(ValueError, match="a ratio of means needs pairs; got 2 numerators and 1 denominators"):
        ratio_interval([0.1, 0.2], [0.1])


def test_a_share_of_scores_is_over_tasks_or_over_the_seeds_of_one():
    rows = [
        {"label": label, "task": task, "seed": seed, "score": level * (1 + 0.1 * seed) + 0.01 * ord(task) % 0.02}
        for label, level in (("BitFit", 0.4), ("full", 0.8)) for task in "ab" for seed in (0, 1, 2)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    assert share_over_tasks(table, "BitFit", "full").n == 2
    alone = share_over_tasks(table[table.task == "b"], "BitFit", "full")
    assert (alone.n, alone.estimate) == (3, pytest.approx(0.5, abs=0.02))
    assert share_over_tasks(table, "BitFit", "no such method") is None


def tasks(rng: np.random.Generator, n: int, *, idle: float, share: float, spread: float) -> tuple[np.ndarray, ...]:
    """Gains of the full method, of one that keeps a share of it, and of one that keeps 0.15 less, over chance 0.4.

    A part of the tasks teaches nothing; shares differ from task to task; scores are over the same 150 test examples.
    """
    gain = np.where(rng.random(n) < idle, rng.uniform(0, 0.03, n), rng.uniform(0.05, 0.6, n))
    kept = share + spread * rng.standard_normal(n)
    examples = rng.standard_normal(n)

    def scored(p: np.ndarray) -> np.ndarray:
        p = np.clip(p, 0.02, 0.98)
        noise = np.sqrt(0.5) * (examples + rng.standard_normal(n)) * np.sqrt(p * (1 - p) / 150)
        return p + noise + 0.02 * rng.standard_normal(n) - 0.4

    return scored(0.4 + gain), scored(0.4 + kept * gain), scored(0.4 + (kept - 0.15) * gain)


def of_learned(a: np.ndarray, full: np.ndarray) -> Interval | None:
    """The mean of the ratios over tasks that look learned: what is not done."""
    known = [learned([g + 0.4], 0.4, 150) for g in full]
    ratios = (a / full)[known]
    return mean_interval(list(ratios)) if len(ratios) >= 5 else None


def simulated(n: int, n_trials: int, **of: float) -> dict[str, float]:
    """Shares of trials: the share covered, its difference covered, the difference told by each of the two ways."""
    rng = np.random.default_rng(n)
    found = {"share": 0, "difference": 0, "told": 0, "told by ratios": 0}
    for _ in range(n_trials):
        full, one, other = tasks(rng, n, **of)
        share, difference = ratio_interval(one, full), ratio_interval(one - other, full)
        ratios = of_learned(one - other, full)
        found["share"] += share.low <= of["share"] <= share.high
        found["difference"] += difference.low <= 0.15 <= difference.high
        found["told"] += difference.low > 0
        found["told by ratios"] += ratios is not None and ratios.low > 0
    return {name: count / n_trials for name, count in found.items()}


CELLS = [(n, idle, spread) for n in (6, 12, 19) for idle in (0.0, 0.35, 0.7) for spread in (0.0, 0.4)]


@pytest.mark.parametrize(("n", "idle", "spread"), CELLS)
def test_it_covers_and_tells_more_than_the_mean_of_the_ratios_of_learned_tasks(n, idle, spread):
    found = simulated(n, 150, idle=idle, share=0.6, spread=spread)
    assert min(found["share"], found["difference"]) >= 0.93 - 3 * (0.05 * 0.95 / 150) ** 0.5
    assert found["told"] >= found["told by ratios"] - 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("n", "idle", "spread"), CELLS)
def test_it_covers_in_full(n, idle, spread):
    found = simulated(n, 2000, idle=idle, share=0.6, spread=spread)
    assert min(found["share"], found["difference"]) >= 0.93
    assert found["told"] > found["told by ratios"] or idle > 0.5  # little to tell where most tasks teach nothing


@pytest.mark.parametrize("idle", [0.0, 0.35, 0.9])
@pytest.mark.parametrize("n", [5, 12])
def test_either_end_misses_as_rarely_as_said(n, idle):
    """Of no share at all, whose sign is what verdicts on differences are about."""
    rng = np.random.default_rng(n)
    low, high = 0, 0
    for _ in range(300):
        full, one, _ = tasks(rng, n, idle=idle, share=0.0, spread=0.2)
        found = ratio_interval(one, full)
        low, high = low + (found.low > 0), high + (found.high < 0)
    assert max(low, high) / 300 <= 0.025 + 3.5 * (0.025 * 0.975 / 300) ** 0.5
