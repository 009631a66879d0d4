"""Bounds on the true error of a classifier whose description is short, from its training error alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log, sqrt

FAILURE = 0.05
"""δ where nothing else is said: a bound holds for all classifiers at once with probability 1 − δ."""


def description_cost(bits: int) -> float:
    """ln 1/P(h) ≤ K ln 2 + 2 ln K of a classifier that a program of K bits writes [nats]; 0 bits cost nothing.

    A prefix-free code of K bits has P(h) ≥ 2^{−K}; writing K itself, so that programs of all lengths share the prior,
    costs 2 ln K at most (Lotfi et al. 2022, section 3).

    Raises:
        ValueError: a negative number of bits.
    """
    if bits < 0:
        raise ValueError(f"a description has 0 bits or more; got {bits}.")
    return bits * log(2) + 2 * log(bits) if bits else 0.0


def kl_bound(error: float, n: int, cost: float = 0.0, *, failure: float = FAILURE) -> float:
    """The largest R with kl(r̂‖R) ≤ (cost + ln 1/δ)/n, kl that of Bernoulli variables: never above 1.

    Chernoff's inequality for one classifier fixed beforehand, a union over all of them weighted by the prior. It is
    tight where r̂ is near 0, and never vacuous: the others follow from it.

    Args:
        error: r̂, share of the n training examples that are wrong.
        n: training examples, independent.
        cost: ln 1/P(h) of the prior [nats]: `description_cost`, plus ln of the number of descriptions tried.
        failure: δ, in (0, 1).

    Raises:
        ValueError: an argument out of its range.

    Example:
        >>> round(kl_bound(0.0, 50), 4)  # 1 − 0.05^{1/50}
        0.0582
    """
    room = _room(error, n, cost, failure)
    low, high = error, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _kl(error, middle) <= room else (low, middle)
    return high if high < 1 - 1e-12 else 1.0


def occam_bound(error: float, n: int, cost: float = 0.0, *, failure: float = FAILURE) -> float:
    """r̂ + √((cost + ln 1/δ)/(2n)): Hoeffding's inequality in place of Chernoff's; may exceed 1. Arguments: `kl_bound`.

    Example:
        >>> round(occam_bound(0.0, 50), 4)
        0.1731
    """
    return error + sqrt(_room(error, n, cost, failure) / 2)


def catoni_bound(
    error: float, n: int, cost: float = 0.0, *, betas: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    failure: float = FAILURE,
) -> float:  # fmt: skip
    """min over β of (1 − exp(−β r̂ − (cost + ln |betas|/δ)/n))/(1 − e^{−β}) (Catoni 2007, theorem 1.2.6).

    For one β fixed beforehand it needs no logarithm of n; choosing among several costs ln of their number. Over all β
    at no cost it would equal `kl_bound`.

    Args:
        error, n, cost, failure: as of `kl_bound`.
        betas: candidates, fixed beforehand. Default powers of two about 1; the best one grows with cost/n.

    Raises:
        ValueError: an argument out of its range, or no candidate.
    """
    if not betas or min(betas) <= 0:
        raise ValueError(f"Catoni's bound needs positive betas; got {list(betas)}.")
    room = _room(error, n, cost + log(len(betas)), failure)
    return min((1 - exp(-beta * error - room)) / (1 - exp(-beta)) for beta in betas)


def _room(error: float, n: int, cost: float, failure: float) -> float:
    if not 0 <= error <= 1 or n < 1 or cost < 0 or not 0 < failure < 1:
        raise ValueError(
            f"a bound needs 0 <= error <= 1, n >= 1, cost >= 0 and 0 < failure < 1; got error = {error}, n = {n}, "
            f"cost = {cost}, failure = {failure}."
        )
    return (cost + log(1 / failure)) / n


def _kl(p: float, q: float) -> float:
    """p ln(p/q) + (1 − p) ln((1 − p)/(1 − q)), with 0 ln 0 = 0."""
    if (p > 0 and q <= 0) or (p < 1 and q >= 1):
        return inf
    return (p * log(p / q) if p > 0 else 0.0) + ((1 - p) * log((1 - p) / (1 - q)) if p < 1 else 0.0)
