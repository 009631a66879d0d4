"""Values of several seeds on one line of a panel: small points, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import plotly.graph_objects as go

from lab.figures.style import counted, fade
from lab.statistics import Interval, mean_interval


def half_width(found: Interval) -> float:
    """Half the interval, 0 where one value alone bounds nothing."""
    half = found.high - found.estimate
    return half if isfinite(half) else 0.0


def seed_dots(figure: go.Figure, values: Sequence[float], name: str, colour: str, place: dict[str, int]) -> None:
    """Draws one line: every value, the mean as a bar, and Student's interval (95 %) from two values on.

    Args:
        figure: the figure with subplots.
        values: one per seed.
        name: the category on the y axis, safe for plotly (`plain`).
        colour: of the line.
        place: row and col of the panel.
    """
    found = mean_interval(list(values))
    figure.add_scatter(
        x=list(values), y=[name] * len(values), mode="markers", showlegend=False, hoverinfo="skip",
        marker={"color": fade(colour, 0.45), "size": 6}, **place,
    )  # fmt: skip
    half = half_width(found)
    figure.add_scatter(
        x=[found.estimate], y=[name], mode="markers", showlegend=False,
        marker={"color": colour, "size": 10, "symbol": "line-ns", "line": {"color": colour, "width": 2.5}},
        error_x={"type": "data", "array": [half], "color": colour, "thickness": 1.6, "width": 0},
        hovertemplate=f"%{{x:.4f}} ± {half:.4f}, {counted(found.n, 'seed')}<extra>{name}</extra>", **place,
    )  # fmt: skip


def zero_line(figure: go.Figure, colour: str, place: dict[str, int]) -> None:
    """A dashed line where there is no difference."""
    figure.add_vline(x=0, line={"color": colour, "dash": "dash", "width": 1}, **place)
