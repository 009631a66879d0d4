"""Where a paper goes: the room and the type that its style gives to figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.figures.style import Size

PIXELS = 96.0
"""Of plotly, in an inch."""

POINTS = 72.27
"""Of TeX, in an inch."""


@dataclass(frozen=True)
class Venue:
    r"""The page of a venue.

    Args:
        name: on the command line.
        column, text: width of a column and of the text [in]; equal where there is one column.
        height: of the text [in].
        type: size of the type in figures, and in tables [pt].
        serif: figures are set in Times, as the text; else in a sans-serif type.
        setup: the document class and what makes its page, as TeX.
        note: what to put in its place, where the venue has a style of its own that may not be passed on.
    """

    name: str
    column: float
    text: float
    height: float
    type: float
    serif: bool
    setup: str
    note: str = ""

    @property
    def columns(self) -> int:
        """1 or 2."""
        return 1 if self.column == self.text else 2

    @property
    def slides(self) -> bool:
        """Whether its pages are slides."""
        return self.name == "beamer"

    @property
    def sheets(self) -> str:
        """What its pages are called."""
        return "slides" if self.slides else "pages"

    @property
    def font(self) -> str:
        """The CSS family of the type in figures; all have the metrics of Times or of Helvetica.

        TrueType first: Chromium writes OpenType outlines into a PDF as Type 3 fonts, which IEEE and ICML refuse. DejaVu
        has the signs that the others lack (∇, ⊥, ‖), which may else come from an OpenType font of the machine.
        """
        if self.serif:
            return "'Liberation Serif', 'Times New Roman', 'DejaVu Serif', 'Nimbus Roman', Times, serif"
        return "'Liberation Sans', Arial, 'DejaVu Sans', 'Nimbus Sans', Helvetica, sans-serif"

    @property
    def highest(self) -> float:
        """Height of a figure [in]: below it stands its caption, but on a slide of its own there is none."""
        return self.height if self.slides else 0.8 * self.height

    def size(self, *, wide: bool, slenderness: float, tallest: float | None = None) -> Size:
        """The size of a figure that spans a column, or the text; no taller than so many pixels, if it can be."""
        width = round((self.text if wide else self.column) * PIXELS)
        return Size(width, self.type / POINTS * PIXELS, slenderness=slenderness, tallest=tallest)

    def room(self, *, wide: bool) -> float:
        """Width of a table [em of its type]."""
        return (self.text if wide else self.column) * POINTS / self.type


# T1 where the type has it: Computer Modern has it as bitmaps in many a TeX, as Type 3 fonts, which venues refuse.
_TIMES = r"""\usepackage[T1]{fontenc}
\usepackage{mathptmx}
\usepackage[scaled=0.9]{helvet}
"""

# Widths and heights are those that the venues' own author kits set; the kits themselves are not passed on here.
VENUES: Mapping[str, Venue] = {
    venue.name: venue
    for venue in (
        Venue(
            "neurips", 5.5, 5.5, 9.0, 8.0, True,
            r"""\documentclass[10pt]{article}
\usepackage[letterpaper,textwidth=5.5in,textheight=9in,top=1in]{geometry}
""" + _TIMES,
            "neurips_YEAR.sty of the call for papers replaces geometry and the fonts",
        ),
        Venue(
            "icml", 3.25, 6.75, 9.0, 8.0, True,
            r"""\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,textwidth=6.75in,textheight=9in,top=1in,columnsep=0.25in]{geometry}
""" + _TIMES,
            "icmlYEAR.sty of the author kit replaces geometry and the fonts",
        ),
        Venue(
            "acl", 3.03, 6.30, 9.72, 8.0, True,
            r"""\documentclass[11pt,twocolumn]{article}
\usepackage[a4paper,textwidth=16cm,textheight=24.7cm,top=2.5cm,columnsep=0.6cm]{geometry}
""" + _TIMES,
            "acl.sty of the ACL template replaces geometry and the fonts",
        ),
        Venue(
            "ieee", 3.5, 7.16, 9.4, 8.0, True,
            r"""\documentclass[conference]{IEEEtran}
\usepackage[T1]{fontenc}
""",
        ),
        Venue(
            "beamer", 5.5, 5.5, 2.6, 8.0, False,
            r"""\documentclass[10pt,aspectratio=169]{beamer}
\usepackage[T1]{fontenc}
\usepackage[scaled=0.95]{helvet}
\setbeamertemplate{navigation symbols}{}
\setbeamertemplate{caption}[numbered]
""",
        ),
    )
}  # fmt: skip
