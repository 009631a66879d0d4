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


def error_of_looks(looks: int, level: float) -> float:
    """Largest chance that one of several intervals of growing samples leaves out the truth: 1 − level^looks.

    Where seeds are added because the first ones left a question open. The estimates at two looks are positively
    correlated, so that both intervals cover at least as often as independent ones would (Šidák 1967), whatever the
    numbers; of normal values looked at again after as many more it is less, 8.3 and 10.7 % for two and three looks at
    95 % (Armitage, McPherson & Rowe 1969).

    Raises:
        ValueError: no look.

    Example:
        >>> round(error_of_looks(2, 0.95), 4)
        0.0975
    """
    if looks < 1:
        raise ValueError(f"a question is looked at once or more; got {looks}.")
    return 1 - level**looks


def expected_false(n_statements: int, level: float) -> float:
    """How many of n true null statements intervals of this confidence decide wrongly, on average, on one side, at most.

    A verdict goes for its claim when the whole interval lies on the claim's side, which at a quantity on the threshold
    happens with probability (1 − level)/2.
    """
    return n_statements * (1 - level) / 2
