"""Loss landscape and curvature: the loss around start and solution; one figure at a time (`LOSS_VIEW`)."""

from __future__ import annotations

import streamlit as st

from app.choice import figure_or_stop, narrowed, rows_or_stop
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
table = labelled(rows_or_stop(found, records, drawn), records, pool=("seed",))
filters = {
    "model": "PLM",
    "task": "Task",
    "label": "What",
    "plane": "Plane",
    "line": "Line",
    "variant": "Variant",
    "scope": "Coordinates",
}
table = narrowed(table, drawn, filters)
panel(drawn, table, found.of(table["key"].unique()))
