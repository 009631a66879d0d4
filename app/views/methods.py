"""The methods compared: what each reaches, how fast, at what price; one figure at a time (`METHODS_COMPARED`)."""

from __future__ import annotations

import streamlit as st

from app.choice import figure_or_stop, narrowed, rows_or_stop
from app.naming import labelled
from app.panel import panel
from lab.figures import METHODS_COMPARED

POOLED = ("seed", "how", "methods", "batch_sizes", "rounds", "sizes")
"""Settings that may differ under one label: figures average over seeds, and tell by a column what was only counted."""

st.title("The methods compared")
st.markdown("What does each delta method reach, how fast, and at what price, when all have the same budget?")
found, drawn = figure_or_stop(METHODS_COMPARED, "comparison of methods")
records = found.having(drawn)
table = labelled(rows_or_stop(found, records, drawn), records, pool=POOLED)
table = narrowed(table, drawn, {"model": "PLM", "task": "Task", "label": "Method"})
panel(drawn, table, found.of(table["key"].unique()))
