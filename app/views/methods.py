"""The methods compared: what each reaches, how fast, at what price; one figure at a time (`METHODS_COMPARED`)."""

from __future__ import annotations

import streamlit as st

from app.filters import keep
from app.loading import table_of
from app.naming import labelled
from app.panel import panel
from app.states import found_or_stop, nothing_yet, warn
from lab.execution.experiment import experiment_drawing, question
from lab.figures import METHODS_COMPARED

POOLED = ("seed", "how", "methods", "batch_sizes", "rounds")
"""Settings that may differ under one label: figures average over seeds, and tell by a column what was only counted."""

st.title("The methods compared")
st.markdown("What does each delta method reach, how fast, and at what price, when all have the same budget?")
found = found_or_stop()
there = {drawn.title: drawn for drawn in METHODS_COMPARED if found.having(drawn)}
if not there:
    nothing_yet("comparison of methods", experiment_drawing(METHODS_COMPARED[0].name) or "", found)

title = st.selectbox("Figure", list(there), key="figure", bind="query-params")
drawn = there.get(title) or next(iter(there.values()))
asked = question(experiment_drawing(drawn.name) or "")
st.caption(asked[:1].upper() + asked[1:])
records = found.having(drawn)
table, damage = table_of(records, drawn.table)
warn([*found.damage, *damage])
if table.empty:
    st.stop()
table = labelled(table, records, pool=POOLED)
panel(drawn, keep(table, {"model": "PLM", "task": "Task", "label": "Method"}), found.of(table["key"].unique()))
