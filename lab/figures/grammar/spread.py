"""Values of several seeds on one line of a panel: small points, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from lab.figures.grammar.panel import Panel
from lab.figures.style import counted
from lab.statistics import Interval, mean_interval


def half_width(found: Interval) -> float:
    """Half the interval, 0 where one value alone bounds nothing."""
    half = found.high - found.estimate
    return half if isfinite(half) else 0.0


def spread(
    panel: Panel, values: Sequence[float], category: str, *, colour: str, name: str = "", about: str = "",
    of: Sequence[str] = (), unit: str = "seed",
) -> Interval:  # fmt: skip
    """Draws one line: every value, the mean as a bar, and Student's interval (95 %) from two values on.

    Args:
        panel: where; its y axis holds the categories.
        values: one per seed, or per `unit`.
        category: the line.
        colour: of the line.
        name: of the mean in the legend; none by default, the axis says it.
        about: what the cursor says besides, plotly's HTML.
        of: what each value is of, for the cursor; a seed has no name.
        unit: what a value is of.

    Returns:
        The mean and its interval.
    """
    found = mean_interval(list(values))
    half = half_width(found)
    said = f"%{{x:.4f}} ± {half:.4f}, {counted(found.n, unit)}{about}<extra>%{{y}}</extra>"
    line = [category] * len(values)
    told: dict[str, Any] = {"hover": "%{customdata[0]}: %{x:.4f}", "data": [list(of)]} if of else {"hover": "%{x:.4f}"}
    panel.points(values, line, name, colour=colour, alpha=0.45, size=6, listed=False, **told)
    panel.points(
        [found.estimate], [category], name, colour=colour, symbol="line-ns", size=10, across=[half], listed=bool(name),
        hover=said,
    )  # fmt: skip
    return found


def apart(x: Sequence[float], place: int, n: int, step: float = 0.03) -> list[float]:
    """Positions of one of n lines on a logarithmic axis, x·(1 + step)^(place − (n − 1)/2): intervals at one x stay
    apart.

    Args:
        x: positive, what the points belong to; say it on hover, by `data`.
        place: of the line, 0 … n − 1.
        n: lines.
        step: from one to the next, as a part of x.
    """
    return [value * (1 + step) ** (place - (n - 1) / 2) for value in x]
