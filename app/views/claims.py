"""Claims: what the records say of each claim of the literature, one claim at a time, every estimate on its axis."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.filters import several
from app.loading import contents
from app.markdown import literal
from app.panel import theme
from app.states import found_or_stop, nothing_yet, warn
from app.width import page_size, watch
from lab.claims_page import ANSWERS, Section, sections, tally
from lab.figures import CONFIG
from lab.figures.forest import forest
from lab.runs import Damaged, everything
from lab.study.catalogue import experiment_drawing


@st.cache_resource(max_entries=4, show_spinner="Judging the claims by all records (once for these records) …")
def judged(keys: tuple[str, ...]) -> tuple[list[Section], list[str]]:
    """The claims of these records' verdicts, and what was not judged; `keys` is what the cache compares."""
    from lab.study import all_verdicts  # brings torch

    damaged: Damaged = {}
    return sections(all_verdicts(everything(), damaged)), list(map(str, damaged.values()))


st.title("What holds here", anchor=False)
st.markdown("#### Which claims of the literature do the records here support, contradict, or leave open?")
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)
whole, unread = judged(tuple(sorted(manifest.key for manifest in contents().manifests)))
warn(list(dict.fromkeys([*found.damage, *unread])))
shown = [section for section in whole if section.verdicts]
if not shown:
    st.info("No record here tests a claim yet; the pages of the questions say what to run.", icon=":material/info:")
    st.stop()
everywhere = [verdict for section in shown for verdict in section.verdicts]
st.markdown(f"Of {len(everywhere)} statements: {literal(tally(everywhere))}.")

picture, choices = st.columns([4, 1], gap="medium")
with choices:
    headings = {section.heading: section for section in shown}
    chosen = st.selectbox("Claim", list(headings), key="claim", bind="query-params")
    section = headings.get(chosen) or shown[0]
    answers = several("Answer", [answer for answer in ANSWERS if tally(section.verdicts)], "answer")
verdicts = [verdict for verdict in section.verdicts if not answers or verdict.answer in answers]
with picture:
    watch("forest")
    st.markdown(f"**Claimed.** {literal(section.said.says)}  \n**Measured here.** {literal(section.said.here)}")
    st.markdown(f"**{literal(tally(section.verdicts))}**")
    if verdicts:
        said = "; ".join(f"{verdict.claim} {verdict.answer}" for verdict in verdicts[:2])
        drawing = forest(verdicts, theme()).figure(page_size("forest"))
        st.plotly_chart(drawing, theme=None, config=dict(CONFIG), alt=literal(said), key="forest")
    else:
        st.info("No statement of this claim has such an answer.", icon=":material/filter_alt:")
with st.expander("The numbers", icon=":material/table:"):
    rows = [
        {"claim": v.claim, "here": v.answer, "estimate": v.measured.estimate, "low": v.measured.low,
         "high": v.measured.high, "threshold": f"{v.side} {v.threshold:.3g}", "n": v.measured.n, "unit": v.unit,
         "quantity": v.quantity, "setting": v.setting}
        for v in verdicts
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Every statement with estimate, interval and threshold")
with st.expander("Reproduce this", icon=":material/replay:"):
    st.code("\n".join(dict.fromkeys(command for v in verdicts for command in v.commands)), language="bash")
    for figure in dict.fromkeys(v.figure for v in verdicts):
        if experiment := experiment_drawing(figure):
            st.markdown(f"Figure `{figure}`: [/{experiment}](/{experiment})")
with st.expander("All claims", icon=":material/list:"):
    table = [
        {"claim": s.heading, "statements": len(s.verdicts), "here": tally(s.verdicts, every=False) or "no record"}
        for s in whole
    ]
    st.dataframe(pd.DataFrame(table), hide_index=True, alt="All claims with the number of statements and answers")
