"""How every figure looks: themes, colours for any eye, fonts, paper widths, and a plotly set-up that stays local."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from numbers import Number
from typing import Any

from lab.deferred import graph_objects as go
from lab.deferred import plotly_colors

FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star", "hexagon")

CONFIG: Mapping[str, Any] = {
    "showSendToCloud": False,  # plotly's default button uploads the figure
    "plotlyServerURL": "",
    "displaylogo": False,
    "responsive": True,
    "toImageButtonOptions": {"format": "svg"},
}
"""plotly.js configuration for every place that shows a figure: nothing leaves the machine."""


@dataclass(frozen=True)
class Theme:
    """Colours of one background.

    Args:
        name: "light" or "dark".
        ink: text and everything that is neither data nor grid.
        muted: secondary text, nulls.
        grid: grid lines.
        background: of paper and plot.
        palette: series colours, most distinguishable first.
        depth: ends, in [0, 1], of the part of plotly's Viridis that is visible on the background.
        marked: every series has a marker of its own, whatever its colour.
    """

    name: str
    ink: str
    muted: str
    grid: str
    background: str
    palette: tuple[str, ...]
    depth: tuple[float, float]
    marked: bool = False

    def colour(self, i: int) -> str:
        """Colour of the i-th series; the palette repeats, `symbol` then differs."""
        return self.palette[i % len(self.palette)]

    def symbol(self, i: int) -> str:
        """Marker of the i-th series: changes whenever the palette starts again, or with every series."""
        again = i // len(self.palette)
        return SYMBOLS[(i + again if self.marked else again) % len(SYMBOLS)]

    def depths(self, n: int) -> list[str]:
        """n colours from the first block to the last, ordered in lightness so that they survive grey print."""
        return list(_ramp(*self.depth, n))


@cache
def _ramp(low: float, high: float, n: int) -> tuple[str, ...]:
    """n colours of Viridis from one end to the other; plotly takes milliseconds to find a scale by its name."""
    points = [low + (high - low) * (i / (n - 1) if n > 1 else 0.5) for i in range(n)]
    return tuple(str(colour) for colour in plotly_colors.sample_colorscale("Viridis", points))


# Colours: Okabe & Ito, "Color Universal Design" (2008), without those too close to the background; the last two are
# from Paul Tol's schemes for colour blindness.
LIGHT = Theme(
    name="light",
    ink="#1a1a1a",
    muted="#6b6b6b",
    grid="#e6e6e6",
    background="#ffffff",
    palette=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933"),
    depth=(0.0, 0.88),
)
DARK = Theme(
    name="dark",
    ink="#eaeaea",
    muted="#a3a3a3",
    grid="#333a44",
    background="#0e1117",  # Streamlit's dark page, so that a figure has no visible edge there
    palette=("#56b4e9", "#e69f00", "#00b386", "#cc79a7", "#f0e442", "#d55e00", "#ffaabb", "#bbcc33"),
    depth=(0.25, 1.0),
)
# For grey print: eight hues at CIE lightness 22, 30, 39, 48, 57, 66, 74 and 82, neighbours in the order far apart.
PRINT = replace(
    LIGHT,
    name="print",
    palette=("#004c6d", "#f68038", "#0a825f", "#fd95ce", "#6d052b", "#86d6fc", "#938c01", "#7241b4"),
    marked=True,
)
THEMES: Mapping[str, Theme] = {theme.name: theme for theme in (LIGHT, DARK)}


@dataclass(frozen=True)
class Size:
    """Where a figure is to appear.

    Args:
        width: in plotly pixels (1/96 inch).
        font: size of all text, in pixels.
        fixed: whether the figure keeps this width; else it fills what holds it.
        slenderness: height of the plotting area, relative to the figure's own proportions.
        tallest: height of the page [px]; a figure that would be taller has more panels in a row and flatter ones.
    """

    width: int
    font: float
    fixed: bool = True
    slenderness: float = 1.0
    tallest: float | None = None

    @property
    def narrow(self) -> bool:
        """Whether it is a phone's, or one column of a paper: no room for long names and colour bars beside panels."""
        return self.width < _NARROW


_NARROW = 500  # px
_PAGE = 864  # 9 in: the text of a letter page
SCREEN = Size(width=960, font=13, fixed=False)
SIZES: Mapping[str, Size] = {
    "screen": SCREEN,
    # 3.5 in: one column of a two-column paper (IEEE, ACL); 7 in: across both columns, or a one-column paper
    "single": Size(width=336, font=9, slenderness=1.35, tallest=_PAGE),
    "double": Size(width=672, font=11, slenderness=1.1, tallest=_PAGE),
    "slide": Size(width=1280, font=20, tallest=720),  # 16:9 projector
}


def template(theme: Theme, font: float) -> go.layout.Template:
    """The plotly template of a theme: white or dark ground, outside ticks, light grid, no boxes."""
    axis = {
        "gridcolor": theme.grid,
        "linecolor": theme.muted,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": theme.muted,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 0.6 * font, "font": {"size": font}},
    }
    bar = {"outlinewidth": 0, "thickness": font, "title": {"side": "top", "font": {"size": font}}}
    layout = go.Layout(
        font={"family": FONT, "size": font, "color": theme.ink},
        paper_bgcolor=theme.background,
        plot_bgcolor=theme.background,
        colorway=list(theme.palette),
        xaxis=axis,
        yaxis=axis,
        legend={"bgcolor": "rgba(0,0,0,0)", "font": {"size": font}, "tracegroupgap": 0},
        hoverlabel={"font": {"family": FONT, "size": font}, "align": "left", "namelength": -1},
        annotationdefaults={"font": {"size": font, "color": theme.ink}, "showarrow": False},
    )
    template = go.layout.Template(layout=layout)
    template.data.scatter = [go.Scatter(marker={"colorbar": bar})]
    return template


def legend_height(rows: int, font: float) -> float:
    """Room below the axis titles [px] in which plotly sets a legend without shrinking the plotting area.

    A row is 1.3 em high, at least 16 px, and 3 px apart; 5 px lie above and below the rows, and plotly keeps 12 px, or
    the least margin, to the edge.
    """
    return rows * (max(1.3 * font, 16) + 3) + 10 + min(font, 12) if rows else 0


def legend_rows(names: Sequence[str], room: float, font: float) -> int:
    """Rows of the horizontal legend, broken as plotly breaks it where every entry is a group of its own.

    An entry is as wide as it needs; the key before its name takes 45 px.

    Args:
        names: its entries.
        room: what the margins leave [px].
        font: size of the text [px].
    """
    rows, filled = 0, room + 1.0
    for name in names:
        width = 45 + text_width(name) * font
        if filled + width > room:
            rows, filled = rows + 1, 0.0
        filled += width
    return rows


def text_width(text: str) -> float:
    """About how wide one line of Helvetica is [em]; tags take no room."""
    letters = html.unescape(re.sub(r"<[^>]*>", "", text))
    narrow = sum(letter in " fijlrtI.,:;'|!()[]/-" for letter in letters)
    wide = sum(letter in "mwMW%@" for letter in letters)
    capital = sum(letter.isupper() and letter not in "IMW" for letter in letters)
    return 0.28 * narrow + 0.83 * wide + 0.68 * capital + 0.55 * (len(letters) - narrow - wide - capital)


def fade(colour: str, alpha: float) -> str:
    """A colour "#rrggbb" or "rgb(r, g, b)" with an opacity in [0, 1].

    Raises:
        ValueError: another notation.
    """
    if colour.startswith("#") and len(colour) == 7:
        channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    elif colour.startswith("rgb(") and colour.count(",") == 2:
        channels = [round(float(part)) for part in colour[4:-1].split(",")]
    else:
        raise ValueError(f'colour is {colour!r}; expected "#rrggbb" or "rgb(r, g, b)"')
    return f"rgba({channels[0]},{channels[1]},{channels[2]},{alpha:g})"


DOLLAR = "&#36;"
"""A dollar sign that is one: between two of the usual ones plotly hands text to MathJax, wherever a page has it."""


def plain(text: object) -> str:
    """Text from a table as plotly shall show it: plotly reads HTML in labels, and names come from files."""
    return html.escape(str(text), quote=False).replace("$", DOLLAR)


def without_dollars(drawn: Any) -> Any:
    """A drawing whose texts hold no dollar sign that plotly would read as the start of a formula; numbers stay."""
    if isinstance(drawn, str):
        return drawn.replace("$", DOLLAR)
    if isinstance(drawn, dict):
        return {name: without_dollars(value) for name, value in drawn.items()}
    if isinstance(drawn, (list, tuple)):
        # most are thousands of numbers, of one or two types
        bare = all(issubclass(kind, (Number, type(None))) for kind in set(map(type, drawn)))
        return drawn if bare else type(drawn)(without_dollars(item) for item in drawn)
    if getattr(getattr(drawn, "dtype", None), "kind", "") in "OUT" and hasattr(drawn, "tolist"):
        return [without_dollars(item) for item in drawn.tolist()]
    return drawn


def count(value: float) -> str:
    """A count as people write it: 812, 1,024, 22.7 M."""
    if abs(value) >= 1e9:
        return f"{value / 1e9:.3g} G"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value:,.0f}"


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2, 5 of every decade, the decades alone where there are three of them.

    Of a range so narrow that one of these lies in it, or none, the other whole digits too, then tenths of these.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    whole = [10.0**k for k in decades if low <= 10.0**k <= high]
    if len(whole) >= 3:
        return whole
    tenths = tuple(n / 10 for n in range(10, 100))
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tenths):
        ticks = [
            float(f"{digit * 10.0**k:.12g}") for k in decades for digit in digits if low <= digit * 10.0**k <= high
        ]
        if len(ticks) >= 2:
            return ticks
    return ticks


def integer_ticks(low: float, high: float) -> list[int]:
    """About six whole numbers from `low` to `high`.

    Example:
        >>> integer_ticks(0, 29)
        [0, 4, 8, 12, 16, 20, 24, 28]
    """
    first, last = math.ceil(low), math.floor(high)
    return list(range(first, last + 1, max(1, (last - first) // 6)))


def counted(n: int, noun: str, plural: str = "") -> str:
    """A number of things: "1 seed", "2 seeds", "3 matrices"."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


_CORRELATIONS = ("matthews", "pearson", "spearman")


def score_title(metrics: Iterable[object]) -> str:
    """Axis title of a score: "accuracy [fraction]", "Spearman [correlation]", "F1, accuracy [fraction]"."""
    names = list(dict.fromkeys(str(metric) for metric in metrics if isinstance(metric, str)))
    if not names:
        return "score [unit of the metric]"
    units = dict.fromkeys("correlation" if name.lower() in _CORRELATIONS else "fraction" for name in names)
    return f"{plain(', '.join(names))} [{' or '.join(units)}]"
