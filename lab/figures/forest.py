"""Verdicts in pictures: how many statements of each claim hold; and as a forest, each with interval and threshold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite

from lab.figures.grammar import Grid, Panel, cut
from lab.figures.style import Theme
from lab.statistics import Verdict

_SYMBOLS = {"holds here": "circle", "does not hold here": "square", "cannot tell": "diamond-open"}
_COLOURS = {"holds here": 2, "does not hold here": 1}
_WIDE = 30.0  # ratio of estimates and threshold from which on a panel is logarithmic; ends of intervals are no reason


def forest(verdicts: Sequence[Verdict], theme: Theme) -> Grid:
    """One row per verdict, one panel per unit and threshold; ends that nothing bounds are arrows.

    Colour and marker say the answer, the vertical line is the threshold.

    Raises:
        ValueError: no verdict.
    """
    if not verdicts:
        raise ValueError("a forest needs one verdict or more; got none.")
    panels: dict[tuple[str, float], list[Verdict]] = {}
    for verdict in verdicts:
        panels.setdefault((unit_in(verdict.quantity), verdict.threshold), []).append(verdict)
    grid = Grid(theme, wrap=1, height=60)
    for (unit, threshold), rows in panels.items():
        _panel(grid.panel(), rows, unit, threshold)
    return grid


def standing(claims: Mapping[str, Sequence[Verdict]], theme: Theme) -> Grid:
    """A bar per claim: how many of its statements hold here, do not, and cannot be told.

    Args:
        claims: what a claim is called -> its verdicts.
        theme: of the page.
    """
    names = list(claims)
    grid = Grid(theme, height=80 + 26 * len(names))
    panel = grid.panel().y("", categories=names, above=True).x("statements [count]", zero=True)
    for answer in _SYMBOLS:
        counts = [sum(v.answer == answer for v in verdicts) for verdicts in claims.values()]
        colour = theme.palette[_COLOURS[answer]] if answer in _COLOURS else theme.muted
        panel.bars(
            counts,
            names,
            answer,
            colour=colour,
            horizontal=True,
            stacked=True,
            thin=True,
            hover=f"%{{y}}: %{{x}} {answer}",
        )
    return grid


def unit_in(quantity: str) -> str:
    """The unit that a quantity ends with, in brackets; "1" where it has none.

    Example:
        >>> unit_in("score of LoRA minus that of adapter [accuracy]")
        'accuracy'
    """
    found = re.findall(r"\[([^\[\]]+)\]", quantity)
    return str(found[-1]) if found else "1"


def row_names(verdicts: Sequence[Verdict]) -> list[str]:
    """Statement and n of each; with what is particular to its place where the statement comes again, and a number where
    that is alike too."""
    names, found = Counter[str](), []
    for v in verdicts:
        others = [_place(other) for other in verdicts if other.claim == v.claim]
        own = [part for part in _place(v) if not all(part in other for other in others)] or _place(v)
        place = f"{cut(' · '.join(own), 44)}; " if len(others) > 1 else ""
        name = f"{v.claim.rstrip('.')} ({place}n = {v.measured.n} {v.unit})"
        names[name] += 1
        found.append(name if names[name] == 1 else f"{name} #{names[name]}")
    return found


def _place(verdict: Verdict) -> list[str]:
    """PLM, task and what else a setting begins with."""
    return verdict.setting.split(";")[0].split(" (")[0].split(" · ")


def _panel(panel: Panel, rows: Sequence[Verdict], unit: str, threshold: float) -> None:
    quantities = {v.quantity for v in rows}
    said = re.sub(r"\s*\[[^\[\]]+\]", "", quantities.pop()) if len(quantities) == 1 else "estimate, 95 % interval"
    low, high, log = _range(rows, threshold)
    names = row_names(rows)
    panel.y("", categories=names, above=True).x(f"{said} [{unit}]", range=(low, high), log=log)
    panel.rule(x=threshold, name="threshold", dash="dash", colour=panel.grid.theme.ink, above=True)
    for name, v in zip(names, rows, strict=True):
        colour = panel.grid.theme.palette[_COLOURS[v.answer]] if v.answer in _COLOURS else panel.grid.theme.muted
        panel.points(
            [v.measured.estimate], [name], v.answer, colour=colour, symbol=_SYMBOLS[v.answer], size=10,
            across=[v.measured.high - v.measured.estimate], across_left=[v.measured.estimate - v.measured.low],
            hover=f"{v.measured.estimate:.3g} [{v.measured.low:.3g}, {v.measured.high:.3g}], {v.side} {threshold:.3g}",
        )  # fmt: skip


def _range(rows: Sequence[Verdict], threshold: float) -> tuple[float, float, bool]:
    """Ends of the axis, and whether it is logarithmic: all that is finite, with room to spare."""
    ends = [x for v in rows for x in (v.measured.estimate, v.measured.low, v.measured.high)]
    shown = [x for x in (threshold, *ends) if isfinite(x)]
    low, high = min(shown), max(shown)
    told = [x for x in (threshold, *(v.measured.estimate for v in rows)) if isfinite(x)]
    if low > 0 and max(told) / min(told) > _WIDE:
        return low / (high / low) ** 0.06, high * (high / low) ** 0.06, True
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room, False
