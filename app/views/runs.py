"""Runs: every record; learning curves and metrics of several side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.filters import keep, several
from app.loading import table_of
from app.naming import SHOWN_KEY, describe, labelled, number_or_word, overview
from app.panel import panel, reproduce
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import LEARNING_CURVES

st.title("Runs")
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)

rows = overview(found.manifests, found.mine)
config = pd.DataFrame(
    [{name: manifest.job.config.get(name) for name in ("model", "task")} for manifest in found.manifests]
)
rows = keep(pd.concat([rows, config], axis=1), {"experiment": "Experiment", "model": "PLM", "task": "Task"})
st.dataframe(
    rows.drop(columns=["model", "task"]),
    hide_index=True,
    alt="All records with experiment, time and device",
    column_config={"time [s]": st.column_config.NumberColumn(format="%.1f")},
)
st.caption(f"{len(rows)} of {len(found.manifests)} records; `deltalab show KEY` prints one.")

st.header("Compare")
names = {m.key[:SHOWN_KEY]: f"{m.key[:SHOWN_KEY]} {describe(m)}" for m in found.manifests}
shown = set(rows["key"])
chosen = several("Records", [names[key] for key in names if key in shown], "record", none="the latest with curves")
if chosen:
    manifests = [m for m in found.manifests if names[m.key[:SHOWN_KEY]] in chosen]
else:
    visible = [m for m in found.manifests if m.key[:SHOWN_KEY] in shown]
    manifests = [next((m for m in visible if LEARNING_CURVES.table in m.tables), visible[0])]

metrics, damage = table_of(manifests, "metrics")
if not metrics.empty:
    different = metrics.set_index("key").rename(index=lambda key: key[:SHOWN_KEY]).T
    if len(manifests) > 1:
        st.caption("Settings and metrics that differ between these records:")
        different = different[different.astype(str).nunique(axis=1) > 1]
    st.dataframe(different.map(number_or_word), alt="Settings and metrics of the chosen records")
curves, more = table_of(manifests, LEARNING_CURVES.table)
warn([*found.damage, *damage, *more])
if curves.empty:
    st.info("None of these records has learning curves.", icon=":material/show_chart:")
    with st.expander("Reproduce this", icon=":material/replay:"):
        reproduce(manifests)
else:
    curves = labelled(curves, manifests, pool=("seed",))
    if "metric" in metrics and "metric" not in curves:
        curves["metric"] = curves["key"].map(metrics.set_index("key")["metric"])
    panel(LEARNING_CURVES, curves, manifests)
