"""Filters whose choices are part of the page's address, so that a link shows the same view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st


def keep(
    table: pd.DataFrame, columns: Mapping[str, str], shown: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """One filter per column; an empty one keeps all rows.

    Each offers what the filters before it leave, so that some row always remains.

    Args:
        table: rows to filter.
        columns: column → what to call it; the column's name is the parameter of the address.
        shown: column → what is chosen before anyone chooses; all where it is left out.

    Returns:
        The rows that pass all filters.
    """
    for column, title in columns.items():
        if column not in table:
            continue
        options = [word(value) for value in sorted(table[column].dropna().unique())]
        wanted = several(title, options, column, shown=(shown or {}).get(column, ()))
        if wanted:
            table = passing(table, column, wanted)
    return table


def passing(table: pd.DataFrame, column: str, words: Sequence[str]) -> pd.DataFrame:
    """The rows whose value of a column is one of these, as options call them."""
    return table[table[column].isin([value for value in table[column].dropna().unique() if word(value) in words])]


def one(table: pd.DataFrame, column: str, title: str) -> pd.DataFrame:
    """The rows with one value of a column, the first one's unless another is chosen, and those without any.

    Args:
        table: rows to choose from.
        column: whose value is chosen, and the parameter of the address.
        title: what to call it.
    """
    options = [str(value) for value in table[column].dropna().unique()]
    wanted = st.selectbox(title, options, key=column, bind="query-params")
    return table[table[column].isna() | (table[column] == (wanted or options[0]))]


def first(table: pd.DataFrame, column: str, title: str = "") -> pd.DataFrame:
    """As `one`, with nothing to choose."""
    value = next(iter(table[column].dropna().unique()), None)
    return table[table[column].isna() | (table[column] == value)]


def several(
    title: str, options: Sequence[str], name: str, *, none: str = "all", shown: Sequence[str] = ()
) -> list[str]:
    """A choice of several options, kept in the address as `name`.

    Args:
        title: above the widget.
        options: what to choose from.
        name: parameter of the address.
        none: what it means to choose nothing.
        shown: what is chosen before anyone chooses.
    """
    default = [option for option in shown if option in options]
    return st.multiselect(title, options, default=default, key=name, placeholder=none, bind="query-params")


def word(value: object) -> str:
    """A value as an option."""
    return f"{value:g}" if isinstance(value, float) else str(value)
