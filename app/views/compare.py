"""Compare: settings, metrics and learning curves of two records or more side by side."""

from __future__ import annotations

import streamlit as st

from app.filters import several
from app.loading import table_of
from app.naming import SHOWN_KEY, describe, labelled, number_or_word
from app.panel import panel, reproduce
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import LEARNING_CURVES

st.title("Compare", anchor=False)
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)
names = {m.key[:SHOWN_KEY]: f"{m.key[:SHOWN_KEY]} {describe(m)}" for m in found.manifests}
chosen = several("Records", list(names.values()), "record", none="the latest with learning curves")
if chosen:
    manifests = [m for m in found.manifests if names[m.key[:SHOWN_KEY]] in chosen]
else:
    manifests = [next((m for m in found.manifests if LEARNING_CURVES.table in m.tables), found.manifests[0])]

metrics, damage = table_of(manifests, "metrics")
curves, more = table_of(manifests, LEARNING_CURVES.table)
warn([*found.damage, *damage, *more])
if not metrics.empty:
    different = metrics.set_index("key").rename(index=lambda key: key[:SHOWN_KEY]).T
    if len(manifests) > 1:
        st.caption("Settings and metrics that differ between these records:")
        different = different[different.astype(str).nunique(axis=1) > 1]
    st.dataframe(different.map(number_or_word), alt="Settings and metrics of the chosen records")
if curves.empty:
    st.info("None of these records has learning curves.", icon=":material/show_chart:")
    with st.expander("Reproduce this", icon=":material/replay:"):
        reproduce(manifests)
else:
    curves = labelled(curves, manifests, pool=("seed",))
    if "metric" in metrics and "metric" not in curves:
        curves["metric"] = curves["key"].map(metrics.set_index("key")["metric"])
    panel(LEARNING_CURVES, curves, manifests)
