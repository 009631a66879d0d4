"""Loss landscape and curvature: the loss around start and solution; one figure at a time (`LOSS_VIEW`)."""

from __future__ import annotations

import streamlit as st

from app.choice import figure_or_stop, rows_or_stop
from app.filters import keep
from app.naming import labelled
from app.panel import panel
from lab.figures import LOSS_VIEW

st.title("Loss landscape and curvature")
st.markdown(
    "How stiff is the loss around a delta's solution, in how many directions, and does that tell how many dimensions "
    "the delta needs?"
)
found, drawn = figure_or_stop(LOSS_VIEW, "measurement of the loss around a solution")
records = found.having(drawn)
table = rows_or_stop(found, records, drawn)
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
