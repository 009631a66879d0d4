"""Weight differences: singular values of ΔW of every matrix, beside chance."""

from __future__ import annotations

import streamlit as st

from app.filters import keep, several
from app.loading import table_of
from app.naming import SHOWN_KEY, describe, labelled
from app.panel import panel
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import WEIGHT_DIFFERENCE_SPECTRA

st.title("Weight differences")
st.markdown("What spectrum does training leave in each weight matrix, and how much of it is more than chance?")
found = found_or_stop()
runs = found.having(WEIGHT_DIFFERENCE_SPECTRA)
if not runs:
    nothing_yet("spectrum of a weight difference", "weight_differences", found)

names = {f"{manifest.key[:SHOWN_KEY]} {describe(manifest)}": manifest for manifest in runs}
chosen = several("Records", list(names), "record", none="the first of the latest command")
latest = [manifest for manifest in runs if manifest.provenance.get("command") == runs[0].provenance.get("command")]
manifests = [names[name] for name in chosen] or latest[-1:]
table, damage = table_of(manifests, WEIGHT_DIFFERENCE_SPECTRA.table)
warn([*found.damage, *damage])
if table.empty:
    st.stop()
table = keep(labelled(table, manifests), {"label": "Method", "role": "Role", "block": "Block"})
panel(WEIGHT_DIFFERENCE_SPECTRA, table, found.of(table["key"].unique()))
