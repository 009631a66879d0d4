"""What the pages of a theme share: one of its figures is chosen in the address, and its rows are read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app.loading import Contents, table_of
from app.states import found_or_stop, nothing_yet, warn
from lab.execution.experiment import experiment_drawing, question
from lab.figures import Figure
from lab.runs import Manifest


def figure_or_stop(figures: Sequence[Figure], what: str) -> tuple[Contents, Figure]:
    """The stores' contents and the figure that the address names, with the question it answers above it.

    Only figures that some record holds the table of are offered; without any, the page ends with the command that
    makes the first one's.

    Args:
        figures: of the theme, in the order offered.
        what: what a page without records lacks, as in "No … here yet".
    """
    found = found_or_stop()
    there = {drawn.title: drawn for drawn in figures if found.having(drawn)}
    if not there:
        nothing_yet(what, experiment_drawing(figures[0].name) or "", found)
    title = st.selectbox("Figure", list(there), key="figure", bind="query-params")
    drawn = there.get(title) or next(iter(there.values()))
    asked = question(experiment_drawing(drawn.name) or "")
    st.caption(asked[:1].upper() + asked[1:])
    return found, drawn


def rows_or_stop(found: Contents, manifests: Sequence[Manifest], drawn: Figure) -> pd.DataFrame:
    """The rows of a figure's table in these records; names damaged records, and ends the page without any row."""
    table, damage = table_of(manifests, drawn.table)
    warn([*found.damage, *damage])
    if table.empty:
        st.stop()
    return table
