"""Weight differences: what training did to the weights, one figure at a time, those of `WEIGHT_DIFFERENCES`."""

from __future__ import annotations

import streamlit as st

from app.choice import figure_or_stop, narrowed, rows_or_stop
from app.naming import labelled
from app.panel import panel
from lab.figures import WEIGHT_DIFFERENCES

FILTERS = {
    "model": "PLM",
    "task": "Task",
    "label": "Run",
    "comparison": "Comparison",
    "side": "Side",
    "role": "Role",
    "block": "Block",
}

st.title("Weight differences")
st.markdown("What spectrum and which directions does training leave in each weight matrix, and how much is chance?")
st.page_link("views/open_weights.py", label="Open an adapter or model of your own", icon=":material/folder_open:")
found, drawn = figure_or_stop(WEIGHT_DIFFERENCES, "spectrum of a weight difference")
records = found.having(drawn)
table = narrowed(labelled(rows_or_stop(found, records, drawn), records), drawn, FILTERS)
panel(drawn, table, found.of(table["key"].unique()))
