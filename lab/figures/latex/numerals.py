"""Numbers with as many digits as they carry: those of an estimate follow its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.deferred import numpy as np

DIGITS = 3
"""Significant digits of the median of a column whose numbers have no interval."""

_LONGEST = 7  # digits of a number that is not a count, before all of its column are written as powers of ten


def decimals(half: float) -> int:
    """Decimals that half an interval leaves: two significant digits of it; below 0 for tens and hundreds.

    Args:
        half: half the width of an interval, > 0 and finite.

    Example:
        >>> decimals(0.0259), decimals(2.6), decimals(350)
        (3, 1, -1)
    """
    digits = 1 - math.floor(math.log10(half))
    return digits if round(half, digits) < 10.0 ** (2 - digits) else digits - 1  # 0.0996 is 0.10


def numeral(value: float, places: int) -> str:
    """A finite number with so many decimals, as siunitx reads it: ASCII, no grouping, no negative zero.

    Example:
        >>> numeral(15493.3, 0), numeral(-0.0004, 3), numeral(1234, -1)
        ('15493', '0.000', '1230')
    """
    text = f"{round(value, places):.{max(0, places)}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def scientific(value: float) -> str:
    """Three digits and a power of ten, as siunitx reads it: 1.25e-7."""
    mantissa, _, exponent = f"{value:.{DIGITS - 1}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def places_of(values: Sequence[float], *, whole: bool = False) -> int | None:
    """Decimals of all numbers of a column: three significant digits of their median; None: powers of ten.

    Args:
        values: finite numbers.
        whole: counts, which have no decimals however many digits they have.
    """
    sizes = np.abs([value for value in values if value])
    if whole or not len(sizes) or all(value == round(value) and abs(value) < 1e12 for value in values):
        return 0
    places = max(0, DIGITS - 1 - math.floor(math.log10(float(np.median(sizes)))))
    least, most = float(sizes.min()), float(sizes.max())
    if least < 0.5 * 10.0**-places:
        places = -math.floor(math.log10(least))
    return places if max(0, math.floor(math.log10(most))) + 1 + places <= _LONGEST else None
