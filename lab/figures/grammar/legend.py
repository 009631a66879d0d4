"""One legend, one key and the colour bars of a grid, made from what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.figures.grammar.axis import short
from lab.figures.grammar.mark import ColourScale, Mark, Rule, glyph
from lab.figures.style import Size

if TYPE_CHECKING:
    from lab.figures.grammar.grid import Grid

_FIRST = ("line", "points", "bars", "surface", "text", "band")
"""Which of the marks of one name stands for it in the legend."""


class Entered(NamedTuple):
    """Marks and rules, each with whether it is the legend's entry of its name."""

    marks: list[tuple[Mark, bool]]
    rules: list[tuple[Rule, bool]]


def entries(marks: Sequence[Mark], rules: Sequence[Rule]) -> tuple[list[str], Entered]:
    """The names in the legend, in the order of drawing, and who stands for each."""
    owner: dict[str, Mark | Rule] = {}
    for mark in marks:
        if mark.listed and mark.name and mark.kind not in ("heat", "surface") and _drawn(mark):
            before = owner.get(mark.name)
            if not isinstance(before, Mark) or _rank(mark) < _rank(before):
                owner[mark.name] = mark
    for rule in rules:
        if rule.name:
            owner.setdefault(rule.name, rule)
    holders = {id(one) for one in owner.values()}
    return list(owner), Entered([(m, id(m) in holders) for m in marks], [(r, id(r) in holders) for r in rules])


def _rank(mark: Mark) -> tuple[int, bool]:
    """Lines before points before bands; of two lines the solid one, of two points the filled ones."""
    return _FIRST.index(mark.kind), mark.sign != "solid" if mark.kind == "line" else mark.sign.endswith("-open")


def keys(marks: Sequence[Mark]) -> list[str]:
    """What dashes and symbols mean: "─── validation", each meaning once."""
    found: dict[str, str] = {}
    for mark in marks:
        if mark.key and _drawn(mark):
            found.setdefault(mark.key, glyph(mark.sign))
    return [f"{sign} {key}" for key, sign in found.items()]


def _drawn(mark: Mark) -> bool:
    """Whether the mark has a point that can be seen."""
    return any(x is not None and y is not None for x, y in zip(mark.trace["x"], mark.trace["y"], strict=False))


LYING = 4.4
"""Height of a colour bar that lies below the panels, with its title and ticks [em]."""


def colour_bars(grid: Grid, size: Size) -> dict[str, Any]:
    """The plotly colour axes: one for each scale of heat maps, one for depths; one below the other at the right.

    Where the page is a phone's they lie below the panels, which need the width.
    """
    scales = list(grid.scales.values())
    if len(grid.depth.values) > 1 and any(mark.depth is not None for mark in grid.marks):
        scales.append(grid.depth)
    n = len(scales)
    return {
        "coloraxis" if i == 0 else f"coloraxis{i + 1}": _axis(scale, grid, size, i, n) for i, scale in enumerate(scales)
    }


def _axis(scale: ColourScale, grid: Grid, size: Size, i: int, n: int) -> dict[str, Any]:
    deep = [float(i) for i in range(len(scale.values))]  # equal steps, however far apart the depths are
    known = deep if scale is grid.depth else scale.values or [0.0, 1.0]
    low = min(known) if scale.low is None else scale.low
    high = max(known) if scale.high is None else scale.high
    high = high if high > low else low + 1e-9
    colours = grid.theme.depths(len(known) if scale is grid.depth else 12)
    ramp = [[k / max(1, len(colours) - 1), colour] for k, colour in enumerate(colours)]
    bar: dict[str, Any] = {
        "title": {"text": scale.title.replace(" [", "<br>["), "side": "top", "font": {"size": size.font}},
        "outlinewidth": 0, "thickness": size.font, "lenmode": "fraction", "len": min(1.0, 0.98 / n),
        "y": 1 - i / n, "yanchor": "top", "x": 1.01, "xanchor": "left",
    }  # fmt: skip
    if size.narrow:
        bar |= {"orientation": "h", "len": 1.0, "x": 0, "xpad": 0, "ypad": 0}
        bar["title"] |= {"text": scale.title}
    if scale.log:
        ticks = [low + (high - low) * k / 4 for k in range(0, 5, 1 if size.width > 500 else 2)]
        bar |= {"tickvals": ticks, "ticktext": [short(float(f"{10**tick:.2g}")) for tick in ticks]}
    elif scale is grid.depth:
        ticks = known[:: max(1, -(-len(known) // (8 if size.width > 500 else 4)))]
        bar |= {"tickvals": ticks, "ticktext": [f"{scale.values[int(i)]:g}" for i in ticks]}
    return {"cmin": low, "cmax": high, "colorscale": ramp, "colorbar": bar}
