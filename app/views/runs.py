"""Runs: every record; a click opens one."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.filters import keep
from app.loading import Contents, contents
from app.naming import overview, setting
from app.running import running
from app.states import found_or_stop, nothing_yet, warn


@st.fragment(run_every=2.0)
def keep_up(seen: Contents) -> None:
    """Draws the page again when a record was added or removed, here or in a terminal."""
    if contents() is not seen:
        st.rerun(scope="app")


st.title("Runs", anchor=False)
st.markdown("#### What is at work, and what has been measured?")
with st.expander("At work", expanded=True, icon=":material/progress_activity:"):
    running()
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)
keep_up(found)
warn(found.damage)
rows = overview(found.manifests, found.mine)
named = pd.DataFrame([{name: setting(m, name) for name in ("model", "task")} for m in found.manifests])
columns = {"experiment": "Experiment", "model": "PLM", "task": "Task", "from": "From"}
rows = pd.concat([rows, named], axis=1)
for place, (column, title) in zip(st.columns(len(columns)), columns.items(), strict=True):
    with place:
        rows = keep(rows, {column: title})
chosen = st.dataframe(
    rows.drop(columns=["model", "task"]),
    hide_index=True,
    key="rows",
    on_select="rerun",
    selection_mode="single-row",
    alt="All records with experiment, time and device",
    column_config={"time [s]": st.column_config.NumberColumn(format="%.1f")},
)
st.caption(f"{len(rows)} of {len(found.manifests)} records; a click in the first column opens one.")
if selected := chosen.selection.rows:
    st.switch_page("views/record.py", query_params={"record": rows["key"].iloc[selected[0]]})
