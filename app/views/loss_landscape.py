"""Loss landscape and curvature: the loss around start and solution; one figure at a time (`LOSS_VIEW`)."""

from __future__ import annotations

import streamlit as st

from app.filters import keep
from app.loading import table_of
from app.naming import labelled
from app.panel import panel
from app.states import found_or_stop, nothing_yet, warn
from lab.execution.experiment import experiment_drawing, question
from lab.figures import LOSS_VIEW

st.title("Loss landscape and curvature")
st.markdown(
    "How stiff is the loss around a delta's solution, in how many directions, and does that tell how many dimensions "
    "the delta needs?"
)
found = found_or_stop()
there = {drawn.title: drawn for drawn in LOSS_VIEW if found.having(drawn)}
if not there:
    nothing_yet("measurement of the loss around a solution", experiment_drawing(LOSS_VIEW[0].name) or "", found)

title = st.selectbox("Figure", list(there), key="figure", bind="query-params")
drawn = there.get(title) or next(iter(there.values()))
st.caption(question(experiment_drawing(drawn.name) or ""))
records = found.having(drawn)
table, damage = table_of(records, drawn.table)
warn([*found.damage, *damage])
if table.empty:
    st.stop()
models = sorted(table["model"].dropna().unique()) if "model" in table else []
if len(models) > 1 and drawn.name != "predicted_dimension":  # one PLM at a time: methods have the same names on each
    model = st.selectbox("PLM", models, key="model", bind="query-params")
    table = table[table["model"].isna() | (table["model"] == (model or models[0]))]
table = labelled(table, records, pool=("seed",))
filters = {
    "task": "Task",
    "label": "What",
    "plane": "Plane",
    "line": "Line",
    "variant": "Variant",
    "scope": "Coordinates",
}
panel(drawn, keep(table, filters), found.of(table["key"].unique()))
