"""Optimal control: the layers as time, the delta as control; one figure at a time, those of `CONTROL_VIEW`."""

from __future__ import annotations

import streamlit as st

from app.filters import keep
from app.loading import table_of
from app.naming import labelled
from app.panel import panel
from app.states import found_or_stop, nothing_yet, warn
from lab.execution.experiment import experiment_drawing, question
from lab.figures import CONTROL_VIEW

st.title("Optimal control")
st.markdown("What does it take to steer a frozen PLM, layer by layer, and how far can each delta method steer it?")
found = found_or_stop()
there = {drawn.title: drawn for drawn in CONTROL_VIEW if found.having(drawn)}
if not there:
    nothing_yet("measurement of the control view", experiment_drawing(CONTROL_VIEW[0].name) or "", found)

title = st.selectbox("Figure", list(there), key="figure", bind="query-params")
drawn = there.get(title) or next(iter(there.values()))
asked = question(experiment_drawing(drawn.name) or "")
st.caption(asked[:1].upper() + asked[1:])
records = found.having(drawn)
table, damage = table_of(records, drawn.table)
warn([*found.damage, *damage])
if table.empty:
    st.stop()
table = labelled(table, records, pool=("seed", "method", "solver"))
panel(drawn, keep(table, {"model": "PLM", "task": "Task", "label": "Method"}), found.of(table["key"].unique()))
