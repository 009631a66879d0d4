"""A paper's folder from figures: TeX that compiles, vector graphics, tables, captions, references, provenance.

It draws and writes, and neither trains nor imports torch.
"""

from __future__ import annotations

from lab.paper.folder import contents, outline, write
from lab.paper.piece import Origin, Piece
from lab.paper.venues import VENUES, Venue

__all__ = ["VENUES", "Origin", "Piece", "Venue", "contents", "outline", "write"]
