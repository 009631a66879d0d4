"""Intrinsic dimension: every search for d90, on one axis."""

from __future__ import annotations

import streamlit as st

from app.choice import rows_or_stop
from app.filters import keep
from app.naming import labelled
from app.panel import panel
from app.states import found_or_stop, nothing_yet
from lab.figures import INTRINSIC_DIMENSION

st.title("Intrinsic dimension")
st.markdown("How many dimensions of a random subspace of all weights suffice for 90 % of full fine-tuning's score?")
found = found_or_stop()
searches = found.having(INTRINSIC_DIMENSION)
if not searches:
    nothing_yet("measurement of an intrinsic dimension", "intrinsic_dimension", found)

table = rows_or_stop(found, searches, INTRINSIC_DIMENSION)
table = keep(labelled(table, searches), {"model": "PLM", "task": "Task", "label": "Method"})
panel(INTRINSIC_DIMENSION, table, found.of(table["key"].unique()))
