"""How far a training score may lie above the true one for a classifier that d numbers describe."""

from __future__ import annotations

from math import log, sqrt


def compression_bound(d: int, n: int, *, n_values: int = 2**16, failure: float = 0.05) -> float:
    """√((d·ln r + ln(1/δ)) / (2n)): with probability 1 − δ no classifier of r^d has a larger gap on n examples.

    Hoeffding's inequality bounds the gap of one fixed classifier with a loss in [0, 1], P(L − L̂ > ε) ≤ exp(−2nε²); the
    union over r^d classifiers, d numbers of r values each, gives the ε above. It is the O(√(d/n)) of Aghajanyan et al.
    2020, section 5.2, after Arora et al. 2018, theorem 2.1, with its constants: √(ln r/2) ≈ 2.4 for r = 2¹⁶.

    Warning:
        Above 1 it says nothing. The classifiers must be fixed before the data are seen: true of what d numbers reach
        from a given θ₀ and a given map, but the map's own choice (step size, method) is not counted.

    Args:
        d: trained numbers, 0 or more.
        n: training examples.
        n_values: r, how many values each number may take. Default 2¹⁶, half precision.
        failure: δ, in (0, 1). Default 0.05.

    Raises:
        ValueError: an argument out of its range.

    Example:
        >>> round(compression_bound(0, 50), 4), compression_bound(1000, 256) > 1
        (0.1731, True)
    """
    if d < 0 or n < 1 or n_values < 2 or not 0 < failure < 1:
        raise ValueError(
            f"the bound needs d >= 0, n >= 1, n_values >= 2 and 0 < failure < 1; got d = {d}, n = {n}, "
            f"n_values = {n_values}, failure = {failure}."
        )
    return sqrt((d * log(n_values) + log(1 / failure)) / (2 * n))
