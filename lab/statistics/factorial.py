"""Two-level factorial designs: which of several things switched on or off moves a response, alone and together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product

Cell = tuple[bool, ...]
"""Which factors are on, in their order."""


def factorial_effects(cells: Mapping[Cell, float]) -> dict[tuple[int, ...], float]:
    """All main effects and interactions of a full 2^k design without replication.

    effect_S = 2^{1−k} Σ_x y(x)·Π_{i∈S} s_i(x) with s_i = +1 where factor i is on, −1 where it is off (Box et al. 2005,
    chapter 5). A main effect {i} is the mean of y with i on minus its mean with i off; an interaction {i, j} is half of
    how much the effect of i is larger with j on than with j off. The 2^k − 1 effects and the mean say all that y says:
    y(x) = ȳ + ½ Σ_S effect_S·Π_{i∈S} s_i(x).

    Args:
        cells: response of every combination of k ≥ 1 factors.

    Returns:
        Indices of the factors of S -> effect, in the unit of y; main effects first.

    Raises:
        ValueError: combinations are missing or have different lengths.

    Example:
        >>> factorial_effects({(False, False): 1.0, (True, False): 3.0, (False, True): 2.0, (True, True): 6.0})
        {(0,): 3.0, (1,): 2.0, (0, 1): 1.0}
    """
    k = _n_factors(cells)
    effects = {}
    for order in range(1, k + 1):
        for chosen in combinations(range(k), order):
            signed = [y * (-1) ** sum(not x[i] for i in chosen) for x, y in cells.items()]
            effects[chosen] = sum(signed) * 2.0 ** (1 - k)
    return effects


def effects_beside(cells: Mapping[Cell, float], factor: int) -> dict[Cell, float]:
    """What switching one factor on adds, for every combination of the others: y(x, i on) − y(x, i off).

    Args:
        cells: response of every combination.
        factor: index of the factor.

    Returns:
        Which of the others are on, in their order -> difference, in the unit of y.

    Raises:
        ValueError: combinations are missing, or there is no such factor.
    """
    k = _n_factors(cells)
    if not 0 <= factor < k:
        raise ValueError(f"factor must be in 0..{k - 1}; got {factor}.")
    return {
        (*before, *after): cells[*before, True, *after] - cells[*before, False, *after]
        for before in product((False, True), repeat=factor)
        for after in product((False, True), repeat=k - factor - 1)
    }


def _n_factors(cells: Mapping[Cell, float]) -> int:
    lengths = {len(x) for x in cells}
    k = lengths.pop() if len(lengths) == 1 else 0
    if k < 1 or len(cells) != 2**k:
        raise ValueError(
            f"a factorial design needs the response of each of the 2^k combinations of k factors; got {len(cells)} "
            f"combinations of lengths {sorted({len(x) for x in cells})}."
        )
    return k
