"""As which files a figure is written."""

from __future__ import annotations

FORMATS = ("html", "pdf", "svg", "csv", "tex")
"""What `export` writes unless told otherwise, caption and BibTeX besides."""
