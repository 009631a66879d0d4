"""A paper's folder from figures: TeX that compiles, vector graphics, tables, captions, references, provenance.

It draws and writes, and neither trains nor imports torch.
"""

from __future__ import annotations

from lab.figures.exporting import zipped
from lab.paper.basket import Basket, Item
from lab.paper.folder import contents, outline, write
from lab.paper.origins import origins
from lab.paper.piece import Origin, Piece
from lab.paper.template import Template, read_template
from lab.paper.venues import VENUES, Venue

__all__ = [
    "VENUES",
    "Basket",
    "Item",
    "Origin",
    "Piece",
    "Template",
    "Venue",
    "contents",
    "origins",
    "outline",
    "read_template",
    "write",
    "zipped",
]
