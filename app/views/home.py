"""Home: what has been measured, and the latest answer."""

from __future__ import annotations

import streamlit as st

from app.loading import table_of
from app.markdown import literal
from app.naming import describe, labelled
from app.panel import panel
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import INTRINSIC_DIMENSION, answers

st.title("deltalab")
st.markdown(
    "A delta is a differentiable map **φ ↦ changed parameters of a frozen language model**. How many dimensions does "
    "it need, what spectrum does its result have, how does it steer the layers?"
)
found = found_or_stop()
searches = found.having(INTRINSIC_DIMENSION)
if not searches:
    nothing_yet("measurement of an intrinsic dimension", "intrinsic_dimension", found)

with st.container(horizontal=True):
    st.metric("records", len(found.manifests), border=True)
    st.metric("your own", len(found.mine), border=True, help="The others come with the lab, in its gallery.")
    st.metric("searches for d90", len(searches), border=True)

latest = searches[0]
table, damage = table_of([latest], INTRINSIC_DIMENSION.table)
st.subheader("The latest intrinsic dimension")
if table.empty:
    warn([*found.damage, *damage])
    st.stop()
table = labelled(table, [latest])
for answer in answers(table):
    st.markdown(f"{literal(describe(latest))}: **d90 {'' if answer.text[0] in '>≤n' else '= '}{literal(answer.text)}**")
    if answer.probe_passes:
        st.caption("The linear probe alone reaches the line, so a freely trained head would hide d90.")
panel(INTRINSIC_DIMENSION, table, [latest])

st.subheader("Where to go")
for page, says, icon in (
    ("intrinsic_dimension", "Intrinsic dimension: all searches on one axis", "show_chart"),
    ("weight_differences", "Weight differences: singular values beside chance", "stacked_line_chart"),
    ("loss_landscape", "Loss landscape and curvature: how stiff, in how many directions", "landscape"),
    ("optimal_control", "Optimal control: costates, solvers, controllability, plans and reach", "route"),
    ("methods", "The methods compared: what each reaches, how fast, at what price", "compare_arrows"),
    ("runs", "Runs: every record, learning curves side by side", "list"),
):
    st.page_link(f"views/{page}.py", label=says, icon=f":material/{icon}:")
warn([*found.damage, *damage])
