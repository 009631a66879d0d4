"""The report's basket on a page: a button that puts a figure in; the basket itself lies in the store."""

from __future__ import annotations

from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.markdown import literal
from lab.figures import Figure, TableError, find_browser
from lab.paper import VENUES, Basket, contents, zipped
from lab.runs import everything, user_store


def basket() -> Basket:
    """The basket of the user's store."""
    return Basket(user_store().path)


def offer(figure: Figure, table: pd.DataFrame, *, command: str = "") -> None:
    """A button that adds a figure to the report.

    Args:
        figure: what is shown.
        table: the rows it is drawn from.
        command: that gives the numbers, where they are in no record.
    """
    says = "Collected figures, a sentence each, become the folder of a paper on the page Report."
    if st.button("Add to report", icon=":material/add_notes:", key=f"add-{figure.name}", help=says, type="tertiary"):
        try:
            basket().add(figure, table, address=address(), command=command)
            st.toast(f"“{figure.title}” is in the report now.", icon=":material/add_notes:")
        except (OSError, TableError, ValueError) as error:
            st.error(f"It cannot be added: {literal(error)}", icon=":material/error:")


def folder(venue: str, pgf: bool) -> bytes:
    """The paper's folder of what is in the basket now, as a ZIP; raises as `lab.paper.contents`."""
    command = f"deltalab paper basket --venue={venue}" + (" --pgf" if pgf else "")
    pieces = basket().pieces(everything())
    files = contents(pieces, VENUES[venue], command=command, pgf=pgf, browser=find_browser() is not None)
    return zipped(files, "paper")


def address() -> str:
    """Of this page as it is now, "intrinsic_dimension?task=imdb"."""
    path = str(st.session_state.get("page") or "")
    asked = [(name, value) for name in st.query_params for value in st.query_params.get_all(name)]
    return f"{path}?{urlencode(asked)}" if asked else path
