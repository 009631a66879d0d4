"""Optimal control: the layers as time, the delta as control; one figure at a time, those of `CONTROL_VIEW`."""

from __future__ import annotations

import streamlit as st

from app.choice import figure_or_stop, narrowed, rows_or_stop
from app.naming import labelled
from app.panel import panel
from lab.figures import CONTROL_VIEW

st.title("Optimal control")
st.markdown("What does it take to steer a frozen PLM, layer by layer, and how far can each delta method steer it?")
found, drawn = figure_or_stop(CONTROL_VIEW, "measurement of the control view")
records = found.having(drawn)
table = labelled(rows_or_stop(found, records, drawn), records, pool=("seed", "seeds", "method", "solver"))
table = narrowed(table, drawn, {"model": "PLM", "task": "Task", "label": "Method"})
panel(drawn, table, found.of(table["key"].unique()))
