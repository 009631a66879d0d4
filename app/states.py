"""What a page says when there is nothing to show, or when something cannot be read: what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.loading import Contents, contents
from app.markdown import literal
from lab.runs import StoreError
from lab.study.catalogue import experiment_names


def found_or_stop() -> Contents:
    """The contents of the stores; ends the page with the way out if they cannot be read."""
    try:
        return contents()
    except (StoreError, OSError) as error:
        st.error(f"The records cannot be read. {literal(error)}", icon=":material/error:")
        st.caption("Choose another folder: `deltalab app --store FOLDER`.")
        st.stop()


def nothing_yet(what: str, experiment: str, found: Contents) -> None:
    """Ends the page: no record holds what it shows; names the command that makes one."""
    st.info(f"No {what} here yet. Run this, then reload the page:", icon=":material/science:")
    command = f"deltalab run {experiment} --scale demo" if experiment in experiment_names() else "deltalab list"
    st.code(command, language="bash")
    places = ", ".join(f"`{path}`" for path in found.stores)
    st.caption(f"Looked in {places}: {len(found.manifests)} records, none with this table.")
    warn(found.damage)
    st.stop()


def warn(damage: Sequence[str]) -> None:
    """Names the records that cannot be read."""
    if damage:
        lines = "".join(f"\n- {literal(sentence)}" for sentence in damage[:20])
        more = f"\n- and {len(damage) - 20} more" if len(damage) > 20 else ""
        st.warning(f"{len(damage)} damaged record(s) are left out:\n{lines}{more}", icon=":material/warning:")
