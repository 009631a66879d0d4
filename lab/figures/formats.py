"""As which files a figure is written."""

from __future__ import annotations

from collections.abc import Iterable

IMAGE_FORMATS = ("pdf", "svg", "png")
TEXT_FORMATS = ("html", "csv", "columns", "tex", "caption", "bib")

FORMATS = ("html", "pdf", "svg", "csv", "tex")
"""What `export` writes unless told otherwise, caption and BibTeX besides."""


def check_formats(formats: Iterable[str]) -> None:
    """Raise unless each is a format that figures are written in.

    Raises:
        ValueError: one is none, or they are one text.
    """
    known = (*TEXT_FORMATS, *IMAGE_FORMATS)
    if isinstance(formats, str) or not set(formats) <= set(known):
        raise ValueError(f"formats are {formats!r}; choose from {', '.join(known)}")
