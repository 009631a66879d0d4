"""Intrinsic dimension: every search for d90, on one axis."""

from __future__ import annotations

import streamlit as st

from app.filters import keep
from app.loading import table_of
from app.naming import labelled
from app.panel import panel
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import INTRINSIC_DIMENSION

st.title("Intrinsic dimension")
st.markdown("How many dimensions of a random subspace of all weights suffice for 90 % of full fine-tuning's score?")
found = found_or_stop()
searches = found.having(INTRINSIC_DIMENSION)
if not searches:
    nothing_yet("measurement of an intrinsic dimension", "intrinsic_dimension", found)

table, damage = table_of(searches, INTRINSIC_DIMENSION.table)
warn([*found.damage, *damage])
if table.empty:
    st.stop()
table = keep(labelled(table, searches), {"model": "PLM", "task": "Task", "label": "Method"})
panel(INTRINSIC_DIMENSION, table, found.of(table["key"].unique()))
