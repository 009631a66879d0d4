"""Exact tests by relabelling: what the same numbers would have given under other labels, or other signs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from math import factorial
from typing import TYPE_CHECKING

from lab.deferred import numpy as np
from lab.statistics.interval import LEVEL, Interval, finite
from lab.statistics.rank_correlation import rank_correlation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MOST = 50_000
"""Up to this many relabellings all of them are made, which is exact."""

DRAWN = 10_000
"""Relabellings drawn where there are more; the identity is one of them."""


@dataclass(frozen=True)
class Relabelling:
    """A statistic beside those of other labels.

    Attributes:
        statistic: as measured.
        p_value: share of relabellings, the identity among them, whose statistic is at least as large: one-sided.
        attainable: the smallest p_value that these numbers could have given; with few units no test can reach 5 %.
        n: relabellings looked at.
        exact: whether they are all there are.
        p_negative: share of relabellings whose statistic is at most as large: one-sided, for the other sign.
    """

    statistic: float
    p_value: float
    attainable: float
    n: int
    exact: bool
    p_negative: float = 1.0

    def interval(self, n_units: int, level: float = LEVEL, *, largest: float = 1.0) -> Interval:
        """The statistic with what the test says of its sign: low end above 0 iff it is positive, high end below 0 iff
        it is negative.

        Two-sided at `level`: the p of the sign is ≤ (1 − level)/2. A test of the sign gives no other bound.

        Args:
            n_units: units that were relabelled.
            level: confidence.
            largest: absolute value the statistic can have. Default 1, that of a correlation.
        """

        def at(confidence: float) -> Interval:
            positive, negative = (p <= (1 - confidence) / 2 for p in (self.p_value, self.p_negative))
            just = float(np.nextafter(0, 1))
            return Interval(self.statistic, just if positive else -largest, -just if negative else largest, n_units)

        return replace(at(level), at=at)

    def can_reach(self, alpha: float) -> bool:
        """Whether any outcome would have been significant at α."""
        return self.attainable <= alpha


def relabelled(statistic: Callable[[np.ndarray], float], n: int, *, seed: int = 0) -> Relabelling:
    """Tests a statistic against all n! orders of its units, or `DRAWN` of them where there are more than `MOST`.

    Args:
        statistic: order (n,) -> number, large where the hypothesis holds; order 0 … n − 1 is what was measured.
        n: units that are exchangeable under the null.
        seed: of the draw, where there are too many orders.

    Raises:
        ValueError: fewer than two units.
    """
    if n < 2:
        raise ValueError(f"relabelling needs two units or more; got {n}.")
    if factorial(n) <= MOST:
        return _tested(statistic, (np.array(order) for order in permutations(range(n))), exact=True)
    rng = np.random.default_rng(seed)
    drawn = (rng.permutation(n) if i else np.arange(n) for i in range(DRAWN))
    return _tested(statistic, drawn, exact=False)


def mantel(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> Relabelling:
    """Whether two symmetric matrices over the same n units rank their pairs alike (Mantel 1967, with Spearman's ρ).

    The pairs of n units are not independent: they are n units' worth of evidence. Rows and columns of the second matrix
    are relabelled together. With n = 4 the smallest p is 1/24 at best.

    Args:
        first, second: (n, n); only the entries above the diagonal are read.
        seed: of the draw, where n! is too many.

    Raises:
        ValueError: matrices that are not square, of different size, or smaller than three units.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or a.shape != b.shape or len(a) < 3:
        raise ValueError(f"Mantel's test needs two square matrices over three units or more; got {a.shape}, {b.shape}.")
    above = np.triu_indices(len(a), 1)
    return relabelled(lambda order: rank_correlation(a[above], b[np.ix_(order, order)][above]), len(a), seed=seed)


def sign_flips(values: Sequence[float], *, seed: int = 0) -> Relabelling:
    """Whether differences are positive on average, when under the null each would be as likely with the other sign.

    Fisher 1935, section 21. Exact for paired differences that are symmetric about 0; the smallest p is 2⁻ⁿ.

    Args:
        values: one difference per independent unit.
        seed: of the draw, where 2ⁿ is too many.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    x = finite(values)

    def mean(signs: np.ndarray) -> float:
        return float(signs @ x)

    if 2 ** len(x) <= MOST:
        found = _tested(mean, (np.array(signs) for signs in product((1, -1), repeat=len(x))), exact=True)
    else:
        rng = np.random.default_rng(seed)
        drawn = (rng.choice((1, -1), len(x)) if i else np.ones(len(x)) for i in range(DRAWN))
        found = _tested(mean, drawn, exact=False)
    return replace(found, statistic=found.statistic / len(x))


def _tested(statistic: Callable[[np.ndarray], float], orders: Iterable[np.ndarray], *, exact: bool) -> Relabelling:
    """The first of the relabellings is what was measured."""
    found = np.array([statistic(order) for order in orders])
    if not np.isfinite(found).all():  # such as a correlation with a constant: nothing is to be seen
        return Relabelling(float(found[0]), 1.0, 1.0, len(found), exact)
    room = 1e-9 * max(1.0, float(np.abs(found).max()))  # equal up to rounding
    at_least, largest = (float((found >= value - room).mean()) for value in (found[0], found.max()))
    return Relabelling(float(found[0]), at_least, largest, len(found), exact, float((found <= found[0] + room).mean()))
