"""A figure in the size, the type and the greys of a venue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from lab.figures.grammar import Grid
from lab.figures.images import images
from lab.figures.style import PRINT
from lab.paper.piece import Piece
from lab.paper.venues import PIXELS, Venue

_LOW = 0.36
"""Share of the page's height up to which a figure stands in one column of two."""

_HIGHEST = 0.8
"""Share of the page's height that a figure may take: its caption stands below it."""

_SLENDER = 1.15
_FLATTEST = 0.3


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing, ready for a page.

    Attributes:
        drawing: the plotly figure; its width and height are those on paper, 96 to the inch.
        wide: it spans the text, not a column.
        fits: it is no higher than a page has room for; else it is scaled down, and its type with it.
    """

    drawing: go.Figure
    wide: bool
    fits: bool

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height."""
        return self.drawing.layout.width / PIXELS, self.drawing.layout.height / PIXELS


def picture(piece: Piece, venue: Venue) -> Picture:
    """The figure of a piece: in a column where that keeps it low, else across the text, flat enough for the page."""
    grid = piece.figure.grid(piece.table, PRINT)
    low = (_LOW if venue.columns == 2 else _HIGHEST) * venue.height * PIXELS
    drawing = _flattened(grid, venue, wide=False, most=low)
    if drawing.layout.height <= low:
        return Picture(drawing, wide=venue.columns == 1, fits=True)
    most = _HIGHEST * venue.height * PIXELS
    drawing = _flattened(grid, venue, wide=True, most=most)
    return Picture(drawing, wide=True, fits=drawing.layout.height <= most)


def _flattened(grid: Grid, venue: Venue, *, wide: bool, most: float) -> go.Figure:
    """The drawing, its panels made flatter until it is no higher than `most` [px], as far as they can be."""
    slenderness = _SLENDER
    for _ in range(4):
        drawing = grid.figure(venue.size(wide=wide, slenderness=slenderness))
        height = float(drawing.layout.height)
        if height <= most or slenderness <= _FLATTEST or height > 4 * most:
            break
        slenderness = max(_FLATTEST, 0.95 * slenderness * most / height)
    drawing.layout.template.layout.font.family = venue.font
    return drawing


def pdfs(pictures: Sequence[Picture]) -> list[bytes]:
    """Vector graphics with their fonts inside, by one start of the browser.

    Raises:
        ImageError: there is no browser, or it failed.
    """
    return images([(picture.drawing, "pdf") for picture in pictures])
