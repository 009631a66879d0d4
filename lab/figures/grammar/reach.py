"""How far an axis reaches: as far as the estimates; an interval that goes on beyond is cut there, with an arrow."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite, log10
from typing import TYPE_CHECKING, Any

from lab.figures.grammar.axis import Axis, numbers
from lab.figures.grammar.mark import Mark, Rule, values_of

if TYPE_CHECKING:
    from lab.figures.grammar.grid import Grid

GOES_ON = "the interval goes on"
"""What an arrow at the edge means, in the key."""

_FLAT = 4.0  # times what the estimates span: with longer intervals on the axis, estimates could not be told apart
_BEYOND = 0.4  # of what the estimates span, to either side of them: what such an axis shows of the intervals
_ARROWS = {"x": ("triangle-left", "triangle-right"), "y": ("triangle-down", "triangle-up")}


def within(grid: Grid) -> Grid:
    """The grid with its intervals cut where they leave their axis.

    An axis that has a range keeps it. Another is as long as its intervals need, but where that is more than four times
    what the estimates (and rules) span, it follows the estimates.
    """
    drawn = copy.copy(grid)
    drawn.marks, drawn.ranges = list(grid.marks), {}
    for which in ("x", "y"):
        for panels in _together(grid, which):
            own = [i for i, mark in enumerate(drawn.marks) if mark.panel in panels]
            if not any(_bars(drawn.marks[i], which) for i in own):
                continue
            axis = grid.axis(panels[0], which)
            rules = [rule for rule in grid.rules if rule.panel in panels]
            ends = _range(axis, [drawn.marks[i] for i in own], rules, which)
            if ends is None:
                continue
            drawn.ranges |= dict.fromkeys(((panel, which) for panel in panels), ends)
            for i in own:
                drawn.marks[i], *arrows = _cut(drawn.marks[i], which, ends)
                drawn.marks += arrows
    return drawn


def _together(grid: Grid, which: str) -> list[list[int]]:
    """The panels of each axis: one, or all that share it."""
    flat = [panel for panel in grid.panels if not panel.solid]
    shared = [panel.number for panel in flat if grid.shared[which] and which not in panel.axes]
    return [*([shared] if shared else []), *([panel.number] for panel in flat if panel.number not in shared)]


def _bars(mark: Mark, which: str) -> dict[str, Any]:
    """The bars of a mark along an axis, {} without any."""
    return dict(mark.trace.get(f"error_{which}") or {})


def _ends(mark: Mark, which: str) -> Iterator[tuple[int, float, float, float]]:
    """(index, estimate, lower end, upper end) of every point of a mark that has a bar."""
    bar = _bars(mark, which)
    up = bar.get("array", ())
    for i, (at, more, less) in enumerate(zip(mark.trace[which], up, bar.get("arrayminus", up), strict=False)):
        if isinstance(at, (int, float)) and more is not None and less is not None:
            yield i, float(at), at - less, at + more


def _range(axis: Axis, marks: Sequence[Mark], rules: Sequence[Rule], which: str) -> tuple[float, float] | None:
    """The ends of an axis on which some interval is cut; None where none is."""
    intervals = [(low, high) for mark in marks for _, _, low, high in _ends(mark, which)]
    if axis.range is not None:
        first, last = min(axis.range), max(axis.range)
        return axis.range if any(low < first or high > last for low, high in intervals) else None
    if axis.categories is not None:
        return None
    bare = [replace(mark, trace={which: mark.trace.get(which)}) for mark in marks]
    estimates = [float(value) for value in numbers([*values_of(bare, which), *_at(rules, which)])]
    estimates += [0.0] if axis.zero and not axis.log else []
    ends = [end for pair in intervals for end in pair]
    if axis.log:
        estimates = [log10(value) for value in estimates if value > 0]
        ends = [log10(end) if 0 < end < float("inf") else (-1 if end <= 0 else 1) * float("inf") for end in ends]
    if not estimates:
        return None
    low, high = min(estimates), max(estimates)
    bounded = [*estimates, *(end for end in ends if isfinite(end))]
    span, needed = high - low, max(bounded) - min(bounded)
    if all(map(isfinite, ends)) and (span == 0 or needed <= _FLAT * span):
        return None
    far = _BEYOND * span if span and needed > _FLAT * span else needed or 0.05 * abs(high) or 1.0
    low, high = max(min(bounded), low - far), min(max(bounded), high + far)
    room = 0.05 * (high - low) or far
    low, high = low - room, high + room
    return (10**low, 10**high) if axis.log else (low, high)


def _at(rules: Sequence[Rule], which: str) -> list[float]:
    """Where rules and zones stand on an axis."""
    own = [rule.shape for rule in rules if rule.shape["across"] == (which == "y")]
    return [shape[f"{which}{end}"] for shape in own for end in (0, 1)]


def _cut(mark: Mark, which: str, ends: tuple[float, float]) -> list[Mark]:
    """The mark with its bars inside the ends, and an arrow outwards for each end of a bar that lies beyond.

    An axis whose first end is the higher one runs the other way.
    """
    low, high = min(ends), max(ends)
    outwards = _ARROWS[which] if ends[0] <= ends[1] else _ARROWS[which][::-1]
    bar = _bars(mark, which)
    if not bar:
        return [mark]
    up, down = list(bar["array"]), list(bar.get("arrayminus", bar["array"]))
    beyond: dict[str, list[tuple[int, float, float]]] = {symbol: [] for symbol in outwards}
    for i, at, lower, upper in _ends(mark, which):
        if not low <= at <= high:
            continue
        for symbol, end, edge, past in zip(
            outwards, (lower, upper), (low, high), (lower < low, upper > high), strict=True
        ):
            if past:
                beyond[symbol].append((i, edge, end))
        up[i], down[i] = min(up[i], high - at), min(down[i], at - low)
    if not any(beyond.values()):
        return [mark]
    cut = {**bar, "symmetric": False, "array": up, "arrayminus": down}
    arrows = [_arrows(mark, which, symbol, ends) for symbol, ends in beyond.items() if ends]
    return [replace(mark, trace={**mark.trace, f"error_{which}": cut}), *arrows]


def _arrows(mark: Mark, which: str, symbol: str, ends: Sequence[tuple[int, float, float]]) -> Mark:
    """The arrows at one edge, in the colour of their bars; the cursor is told where the intervals end."""
    other = "y" if which == "x" else "x"
    told = [f"the interval goes on to {end:.3g}" if isfinite(end) else "nothing bounds it" for _, _, end in ends]
    trace = {
        "type": "scatter", "mode": "markers", which: [edge for _, edge, _ in ends],
        other: [mark.trace[other][i] for i, _, _ in ends], "cliponaxis": False, "hovertext": told, "hoverinfo": "text",
        "marker": {"color": _bars(mark, which)["color"], "symbol": symbol, "size": 8},
    }  # fmt: skip
    return Mark("points", mark.panel, trace, mark.name, GOES_ON, symbol, listed=False)
