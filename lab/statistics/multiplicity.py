"""Several statements at once: adjusted p values, and how many come out by chance."""

from __future__ import annotations

from collections.abc import Sequence

from lab.deferred import numpy as np


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p adjusted for the number of tests (Holm 1979): those at most α keep the chance of any false one at α.

    p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)) for p_(1) ≤ … ≤ p_(m), whatever the dependence between the tests.

    Args:
        p_values: of one family, in any order.

    Returns:
        In the order given.

    Raises:
        ValueError: a p that is none.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    p = np.asarray(p_values, float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values lie in [0, 1]; got {list(p_values)}.")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order]))
    return tuple(float(value) for value in adjusted)


def expected_false(n_statements: int, level: float) -> float:
    """How many of n true null statements an interval of this confidence decides wrongly, on average, on one side.

    A verdict goes for its claim when the whole interval lies on the claim's side, which at a quantity on the threshold
    happens with probability (1 − level)/2.
    """
    return n_statements * (1 - level) / 2
