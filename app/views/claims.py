"""Claims: what the records say of each claim of the literature, one claim at a time, every estimate on its axis."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.clicks import clickable
from app.filters import several
from app.judging import Judged, judged
from app.loading import Contents, contents
from app.markdown import literal
from app.panel import theme
from app.states import found_or_stop, nothing_yet, warn
from app.width import page_size, settings, watch
from lab.claims_page import ANSWERS, sections, tally
from lab.figures.forest import forest, standing
from lab.figures.grammar import cut
from lab.study.catalogue import experiment_drawing


@st.fragment(run_every=1.0)
def waiting() -> None:
    """Draws the page again when the verdicts are there."""
    if judged_or_stop(contents()) is not None:
        st.rerun(scope="app")


def judged_or_stop(found: Contents) -> Judged | None:
    """As `judged`; ends the page where that fails."""
    try:
        return judged(found)
    except (RuntimeError, OSError, ValueError) as error:
        st.error(literal(error), icon=":material/error:")
        st.stop()


st.title("What holds here", anchor=False)
st.markdown("#### Which claims of the literature do the records here support, contradict, or leave open?")
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)
answered = judged_or_stop(found)
if answered is None:
    st.info(f"All {len(found.manifests)} records judge the claims now, once; half a minute.", icon=":material/gavel:")
    for section in sections([]):
        st.markdown(f"**{literal(section.heading)}**  \n{literal(section.said.says)}")
    waiting()
    st.stop()
whole = sections(answered.verdicts)
warn(list(dict.fromkeys([*found.damage, *answered.damage])))
shown = [section for section in whole if section.verdicts]
if not shown:
    st.info("No record here tests a claim yet; the pages of the questions say what to run.", icon=":material/info:")
    st.stop()
everywhere = [verdict for section in shown for verdict in section.verdicts]
some = sum(any(verdict.answer == "holds here" for verdict in section.verdicts) for section in shown)
st.markdown(
    f"Of {len(everywhere)} statements {literal(tally(everywhere))}; at least one holds for {some} of {len(shown)} "
    "claims. A statement holds where the whole 95 % interval of what was measured lies on the claimed side, corrected "
    "for the other statements of its claim."
)


def clicked() -> None:
    """Takes the claim whose bar was clicked."""
    points = st.session_state["standing"].selection.points
    if points:
        st.session_state["claim"] = shown[points[0]["point_index"]].heading


watch("standing")
bars = standing({cut(s.heading, 52): s.verdicts for s in shown}, theme()).figure(page_size("standing"))
st.plotly_chart(
    clickable(bars), theme=None, config=settings(), alt=literal(tally(everywhere)), key="standing", on_select=clicked,
    selection_mode="points",
)  # fmt: skip
headings = {section.heading: section for section in shown}
chosen = st.selectbox("Claim; a click on its bar chooses it, too", list(headings), key="claim", bind="query-params")
section = headings.get(chosen) or shown[0]
st.markdown(f"**Claimed.** {literal(section.said.says)}  \n**Measured here.** {literal(section.said.here)}")
picture, choices = st.columns([4, 1], gap="medium")
with choices:
    st.markdown(f"**{literal(tally(section.verdicts, every=False))}**")
    answers = several("Answer", list(ANSWERS), "answer")
verdicts = [verdict for verdict in section.verdicts if not answers or verdict.answer in answers]
with picture:
    watch("forest")
    if verdicts:
        said = "; ".join(f"{verdict.claim} {verdict.answer}" for verdict in verdicts[:2])
        drawing = forest(verdicts, theme()).figure(page_size("forest"))
        st.plotly_chart(drawing, theme=None, config=settings(), alt=literal(said), key="forest")
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
