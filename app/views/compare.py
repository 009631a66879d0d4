"""Compare: two to six records of one question: what sets them apart, and what came of it, in one figure."""

from __future__ import annotations

import streamlit as st

from app.comparing import MOST, alike, comparable, differing, figures_of, in_words, side_by_side
from app.filters import keep
from app.loading import table_of
from app.markdown import literal
from app.naming import describe, labelled
from app.panel import details, draw_or_stop
from app.question import title
from app.slices import FILTERS, readable
from app.states import found_or_stop, nothing_yet, warn
from lab.study.catalogue import outline_of

st.title("Compare", anchor=False)
st.markdown("#### What sets these records apart, and what came of it?")
found = found_or_stop()
groups = found.memory.get(("compare",)) or comparable(found.manifests)
found.memory["compare",] = groups
if not groups:
    nothing_yet("record that draws a figure", "intrinsic_dimension", found)
question, several = st.columns([1, 3], gap="medium")
asked = {title(outline_of(name)): name for name in groups}
experiment = question.selectbox("Experiment", list(asked), key="experiment", bind="query-params")
group = groups[asked.get(experiment, next(iter(groups)))]
names = {f"{describe(m)} ({m.key[:8]})": m for m in group}
shown = [f"{describe(m)} ({m.key[:8]})" for m in alike(group)]
chosen = several.multiselect(
    "Records", list(names), default=shown, key="record", max_selections=MOST, bind="query-params"
)
manifests = [names[name] for name in chosen or shown]
answer = st.container()
picture, choices = st.columns([3, 1], gap="small")
with choices:
    figures = figures_of(manifests)
    if not figures:
        answer.info("No figure can be drawn of all of these records; leave one out.", icon=":material/filter_alt:")
        st.stop()
    named = next(iter(figures))
    if len(figures) > 1:
        named = st.radio("Figure", list(figures), key="figure", bind="query-params") or named
    drawn = figures[named]
table, damage = table_of(manifests, drawn.table, drawn.also)
metrics, more = table_of(manifests, "metrics")
with answer:
    warn(list(dict.fromkeys([*found.damage, *damage, *more])))
    if table.empty:
        st.stop()
table = labelled(table, manifests, pool=("seed",))
if "metric" in metrics and "metric" in drawn.optional and "metric" not in table:
    table = table.assign(metric=table["key"].map(metrics.set_index("key")["metric"]))
with choices:
    known = {*drawn.columns, *drawn.optional}
    offered = {
        name: title
        for name, title in FILTERS.items()
        if name not in ("label", "seed") and name in known and name in table and table[name].nunique() > 1
    }
    table = keep(table, offered, readable(table, drawn, list(offered)))
with picture:
    said = draw_or_stop(drawn, table, list(offered))
apart = in_words(differing(manifests)) if len(manifests) > 1 else "One record; choose a second to compare it with."
answer.markdown(f"{literal(apart)} {literal(said.sentence)}")
different = side_by_side(manifests, metrics)
if len(manifests) > 1 and len(different):
    st.markdown("**What differs**")
    st.dataframe(different, hide_index=True, alt="Settings and results that differ between the records")
with st.expander("Everything that was asked and measured", icon=":material/table:"):
    whole = side_by_side(manifests, metrics, every=True)
    st.dataframe(whole, hide_index=True, alt="All settings and results of the records")
details(drawn, table, manifests, said)
