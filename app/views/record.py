"""One record whole: what was asked, what was measured, under which circumstances, and the figures it can draw."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.basket import offer
from app.loading import table_of
from app.markdown import literal
from app.naming import SHOWN_KEY, describe, number_or_word, quantity
from app.panel import draw_or_stop, reproduce
from app.question import sentence, title
from app.slices import rows, unmixed
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import Figure, figure
from lab.runs import flattened
from lab.study.catalogue import outline_of

SHOWN_ROWS = 1000
"""Most rows of a table that are shown; `deltalab export` has all."""

st.title("Record", anchor=False)
st.markdown("#### What did this run measure, and how is it made again?")
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)
keys = {manifest.key[:SHOWN_KEY]: manifest for manifest in found.manifests}
chosen = st.selectbox("Record", list(keys), key="record", bind="query-params")
manifest = keys.get(chosen) or found.manifests[0]
experiment = outline_of(manifest.job.experiment)
st.markdown(f"**{literal(title(experiment))}**: {literal(describe(manifest))}. {literal(sentence(experiment))}")

metrics, damage = table_of([manifest], "metrics")
warn([*found.damage, *damage])
drawable: list[tuple[Figure, pd.DataFrame]] = []
for drawn in map(figure, experiment.figures):
    if drawn.table in manifest.tables:
        table, damage = rows([manifest], drawn)
        warn(damage)
        if len(table):
            drawable.append((drawn, unmixed(table, drawn)))
places = st.tabs([literal(drawn.title) for drawn, _ in drawable]) if drawable else []
for place, (drawn, table) in zip(places, drawable, strict=True):
    with place:
        answer = st.container()
        said = draw_or_stop(drawn, table)
        answer.markdown(literal(said.sentence))
        offer(drawn, table)
asked, measured = st.columns(2, gap="medium")
with asked:
    st.subheader("Asked", anchor=False)
    job = {name: number_or_word(value) for name, value in flattened(manifest.job.config).items()}
    names = [quantity(name) for name in job]
    st.dataframe({"setting": names, "value": list(job.values())}, hide_index=True, alt="Settings of the job")
with measured:
    st.subheader("Measured", anchor=False)
    known = [name for name in map(str, metrics) if name not in (*job, "key", "experiment")]
    unit = str(metrics["metric"].iloc[0]) if "metric" in metrics and len(metrics) else ""
    values = {quantity(name, unit): number_or_word(metrics[name].iloc[0]) for name in known}
    st.dataframe({"metric": list(values), "value": list(values.values())}, hide_index=True, alt="Metrics of the record")
for name in manifest.tables[1:]:
    with st.expander(f"Table {name}", icon=":material/table:"):
        table, damage = table_of([manifest], name)
        warn(damage)
        st.dataframe(table.head(SHOWN_ROWS), hide_index=True, alt=f"Table {name} of the record")
        if len(table) > SHOWN_ROWS:
            st.caption(f"The first {SHOWN_ROWS:,} of {len(table):,} rows.")
with st.expander("Reproduce this", icon=":material/replay:"):
    reproduce([manifest])
