"""What the pages of a theme share: one of its figures is chosen in the address, its rows are read and narrowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from app.filters import keep, one
from app.loading import Contents, table_of
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import Figure
from lab.runs import Manifest
from lab.study.catalogue import experiment_drawing, question

_IDENTITY = {"model": "PLM", "task": "Task", "label": "Run"}
"""What rows of different records differ in, and what to call it."""


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


def narrowed(table: pd.DataFrame, drawn: Figure, filters: Mapping[str, str]) -> pd.DataFrame:
    """The rows that the page's filters pass; all of them, unless the figure takes several PLMs, tasks or runs for one.

    Where it does, such as two PLMs under one label in a figure that does not name the PLM, one of them is drawn, the
    newest record's unless another is chosen.

    Args:
        table: with a `label`, rows of the newest record first.
        drawn: the figure; what it names are its columns.
        filters: column → what to call it, as for `keep`; what is chosen here is no filter.
    """
    told = [name for name in _IDENTITY if name in table and name in {**drawn.columns, **drawn.optional}]
    chosen = set()
    for name, title in _IDENTITY.items():
        if name in table and name not in told and _several(table, name, told):
            table = one(table, name, title)
            chosen.add(name)
    return keep(table, {name: title for name, title in filters.items() if name not in chosen})


def _several(table: pd.DataFrame, name: str, told: list[str]) -> bool:
    """Whether rows that agree in the columns `told` differ in this one."""
    groups = [group for _, group in table.groupby(told, dropna=False)] if told else [table]
    return any(group[name].nunique() > 1 for group in groups)
