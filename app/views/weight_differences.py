"""Weight differences: what training did to the weights, one figure at a time, those of `WEIGHT_DIFFERENCES`."""

from __future__ import annotations

import streamlit as st

from app.choice import figure_or_stop, rows_or_stop
from app.filters import keep, several
from app.naming import SHOWN_KEY, describe, labelled
from app.panel import panel
from lab.figures import WEIGHT_DIFFERENCE_SPECTRA, WEIGHT_DIFFERENCES

st.title("Weight differences")
st.markdown("What spectrum and which directions does training leave in each weight matrix, and how much is chance?")
st.page_link("views/open_weights.py", label="Open an adapter or model of your own", icon=":material/folder_open:")
found, drawn = figure_or_stop(WEIGHT_DIFFERENCES, "spectrum of a weight difference")
runs = found.having(drawn)
names = {f"{manifest.key[:SHOWN_KEY]} {describe(manifest)}": manifest for manifest in runs}
chosen = several("Records", list(names), "record", none="those of the latest run")
latest = [
    manifest
    for manifest in runs
    if manifest.provenance.get("command") == runs[0].provenance.get("command")
    and manifest.job.config.get("model") == runs[0].job.config.get("model")
]
if drawn is WEIGHT_DIFFERENCE_SPECTRA:
    latest = latest[-1:]  # panels of one run are enough for a page
manifests = [names[name] for name in chosen if name in names] or latest
table = rows_or_stop(found, manifests, drawn)
filters = {"label": "Run", "comparison": "Comparison", "side": "Side", "role": "Role", "block": "Block"}
panel(drawn, keep(labelled(table, manifests), filters), found.of(table["key"].unique()))
