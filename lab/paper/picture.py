"""A figure in the size, the type and the greys of a venue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import plotly.graph_objects as go

from lab.figures.grammar import Grid
from lab.figures.images import images
from lab.figures.sheets import numbered, sheets
from lab.figures.style import PRINT
from lab.paper.piece import Piece
from lab.paper.venues import PIXELS, Venue

_LOW = 0.36
"""Share of the page's height up to which a figure stands in one column of two."""

_SLENDER = 1.15
_FLATTEST = 0.3


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure, ready for a page.

    Attributes:
        drawings: plotly figures whose width and height are those on paper, 96 to the inch: one; several, where all
            panels on one page would be too high.
        wide: it spans the text, not a column.
        fits: none is higher than a page has room for; else it is scaled down, and its type with it.
    """

    drawings: tuple[go.Figure, ...]
    wide: bool
    fits: bool

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height, of the highest."""
        highest = max(self.drawings, key=lambda drawing: drawing.layout.height)
        return highest.layout.width / PIXELS, highest.layout.height / PIXELS

    def named(self, name: str) -> dict[str, go.Figure]:
        """The drawings by the names of their files: NAME, and NAME-2, … of further pages."""
        return numbered(name, self.drawings)


def picture(piece: Piece, venue: Venue) -> Picture:
    """The figure of a piece: in a column where that keeps it low, else across the text, flat enough for the page.

    What is too high still goes on on another page. On slides more panels stand side by side than elsewhere.
    """
    grid = piece.figure.grid(piece.table, PRINT)
    most = venue.highest * PIXELS
    low = _LOW * venue.height * PIXELS if venue.columns == 2 else most
    drawing = _flattened(grid, venue, wide=False, most=low)
    if drawing.layout.height <= low:
        return Picture((drawing,), wide=venue.columns == 1, fits=True)
    drawings = sheets(grid, partial(_flattened, venue=venue, wide=True, most=most), most)
    return Picture(drawings, wide=True, fits=all(drawing.layout.height <= most for drawing in drawings))


def _flattened(grid: Grid, venue: Venue, *, wide: bool, most: float) -> go.Figure:
    """The drawing, its panels made flatter until it is no higher than `most` [px], as far as they can be."""
    slenderness = _SLENDER
    for _ in range(4):
        size = venue.size(wide=wide, slenderness=slenderness, tallest=most if venue.slides else None)
        drawing = grid.figure(size)
        height = float(drawing.layout.height)
        if height <= most or slenderness <= _FLATTEST or height > 4 * most:
            break
        slenderness = max(_FLATTEST, 0.95 * slenderness * most / height)
    drawing.layout.template.layout.font.family = venue.font
    return drawing


def pdfs(drawings: Sequence[go.Figure]) -> list[bytes]:
    """Vector graphics with their fonts inside, by one start of the browser.

    Raises:
        ImageError: there is no browser, or it failed.
    """
    return images([(drawing, "pdf") for drawing in drawings])
