"""A figure as files: what is taller than a page is as many sheets as `deltalab export` writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from app.naming import SHOWN_KEY
from lab.figures import HOW_TO_GET_A_BROWSER, SIZES, Figure, find_browser, rendered, sheet_count
from lab.figures.formats import IMAGE_FORMATS
from lab.figures.style import counted
from lab.runs import Manifest

_KINDS = {
    "html": ("HTML", "text/html", "One file with the interactive figure; works offline."),
    "csv": ("CSV", "text/csv", "The numbers of the figure."),
    "tex": ("LaTeX", "application/x-tex", "The answer as a booktabs table."),
    "pdf": ("PDF", "application/pdf", "For a paper, in the width chosen here."),
    "svg": ("SVG", "image/svg+xml", "For a web page or for editing, in the width chosen here."),
    "bib": ("BibTeX", "application/x-bibtex", "The papers this figure comes from."),
}
_WIDTHS = {"single": "one column", "double": "two columns", "slide": "slide"}


@st.fragment
def downloads(figure: Figure, table: pd.DataFrame, manifests: Sequence[Manifest]) -> None:
    """Buttons, for whoever opens them; a file is made when its button is pressed.

    Args:
        figure: what is drawn.
        table: of it.
        manifests: the records that the table is from; none where it is from files.
    """
    box = st.expander("Download", icon=":material/download:", key="download", bind="query-params")
    if not box.open:
        return
    with box:
        width = st.segmented_control(
            "Width of PDF and SVG", list(_WIDTHS), format_func=_WIDTHS.__getitem__, default="double", required=True,
            key="width", bind="query-params",
        )  # fmt: skip
        size = width if width in SIZES else "double"
        sheets = _sheets(figure.name, size, table, figure)
        with st.container(horizontal=True):
            for kind in _KINDS:
                _button(figure, table, kind, size, sheets if kind in IMAGE_FORMATS else 1, _provenance(manifests))


def _button(figure: Figure, table: pd.DataFrame, kind: str, size: str, sheets: int, provenance: dict[str, str]) -> None:
    """The button of one format; of several sheets they come in a ZIP."""
    title, mime, says = _KINDS[kind]
    file, possible = f"{figure.name}.{kind}", kind not in IMAGE_FORMATS or find_browser() is not None
    if sheets > 1:
        title, file, mime = f"{title}, {counted(sheets, 'sheet')}", f"{figure.name}-{kind}.zip", "application/zip"
        says = f"{says} The figure is taller than a page: a ZIP with {sheets} files."
    make = partial(rendered, figure, table, kind, size=size, provenance=provenance)
    st.download_button(
        title, make, file_name=file, mime=mime, disabled=not possible, on_click="ignore",
        help=says if possible else HOW_TO_GET_A_BROWSER, icon=":material/download:", key=f"download-{kind}",
    )  # fmt: skip


def _provenance(manifests: Sequence[Manifest]) -> dict[str, str]:
    """The records, and the commands that made them."""
    commands = dict.fromkeys(str(m.provenance["command"]) for m in manifests if m.provenance.get("command"))
    return {
        "records": ", ".join(m.key[:SHOWN_KEY] for m in manifests),
        **({"command": "; ".join(commands)} if commands else {}),
    }


@st.cache_resource(max_entries=256, show_spinner=False)
def _sheets(name: str, size: str, table: pd.DataFrame, _figure: Figure) -> int:
    return sheet_count(_figure, table, size)
