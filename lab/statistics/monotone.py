"""Curves that cannot fall: their least-squares fit, and where they reach a level."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING

from lab.deferred import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def monotone_fit(means: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """The non-decreasing (m,) next to m means in weighted least squares, by pooling adjacent violators.

    Barlow et al. 1972, section 1.2: neighbours in the wrong order become their weighted mean, until none are.

    Example:
        >>> monotone_fit([1.0, 3.0, 2.0, 4.0], [1, 1, 1, 1]).tolist()
        [1.0, 2.5, 2.5, 4.0]
    """
    blocks: list[tuple[float, float, int]] = []  # value, weight, length
    for value, weight in zip(np.asarray(means, float), np.asarray(weights, float), strict=True):
        blocks.append((float(value), float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, u, n), (b, v, k) = blocks[-2:]
            blocks[-2:] = [((a * u + b * v) / (u + v), u + v, n + k)]
    return np.repeat([value for value, _, _ in blocks], [n for _, _, n in blocks])


def reached_at(x: ArrayLike, y: ArrayLike, level: float) -> float | None:
    """Where y, joined by straight lines in log x, first reaches a level; x[0] where it is there already, None if never.

    Args:
        x: (m,), ascending and positive.
        y: (m,).
        level: to be reached.
    """
    places, values = np.asarray(x, float), np.asarray(y, float)
    reaching = np.flatnonzero(values >= level)
    if not len(reaching):
        return None
    i = int(reaching[0])
    if i == 0:
        return float(places[0])
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return exp(log(places[i - 1]) + share * log(places[i] / places[i - 1]))
