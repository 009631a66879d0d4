"""Home: one answer to play with, then every question with its answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import streamlit as st

from app.cards import Card, card, known, show
from app.judging import judged
from app.loading import Contents, table_of
from app.markdown import literal
from app.panel import draw_or_stop
from app.question import answerable, questions, sentence
from app.slices import newest, rows
from app.states import found_or_stop, nothing_yet, warn
from app.width import narrow
from lab.claims_page import tally
from lab.figures import INTRINSIC_DIMENSION, figure
from lab.figures.style import counted
from lab.study.catalogue import Outline, outline_of

WIDE = 3
"""Cards in a row."""

AT_ONCE = 0.2
"""Seconds of processor time that a page draws new cards for; it shows itself then, and goes on."""


def lead(found: Contents) -> None:
    """The newest search for d90, with its dimension to choose: what so many random directions reach."""
    searches = [m for m in found.of_experiment("intrinsic_dimension") if INTRINSIC_DIMENSION.table in m.tables]
    if not searches:
        return
    latest = newest(searches, outline_of("intrinsic_dimension"))[:1]
    table, damage = rows(latest, INTRINSIC_DIMENSION)
    warn(damage)
    tried = table[table.kind == "subspace"] if len(table) else table
    if tried.empty:
        return
    model, task = (literal(tried[name].iloc[0]) for name in ("model", "task"))
    st.subheader(f"How many random directions does it take to teach {model} the task {task}?", anchor=False)
    picture, play = st.columns([3, 2], gap="large", vertical_alignment="center")
    with play:
        ds = sorted(map(int, tried.d.unique()))
        found_d = table[table.kind == "d90"].d.dropna()
        near = min(ds, key=lambda d: abs(d - found_d.iloc[0])) if len(found_d) else ds[0]
        d = st.select_slider("Random directions", ds, value=near, key="d", format_func="{:,}".format)
        score, full = tried[tried.d == d].score.mean(), table[table.kind == "full"].score.mean()
        against = f"{score / full - 1:+.1%} against full fine-tuning"
        st.metric(literal(tried.metric.iloc[0]), f"{score:.3f}", against, border=True)
        metrics, _ = table_of(latest, "metrics")
        native = metrics["native"].iloc[0] if "native" in metrics else None
        st.caption(f"{d:,} numbers are trained" + (f" instead of {native:,.0f}." if native else "."))
    with picture:
        said = draw_or_stop(INTRINSIC_DIMENSION, table)
    play.markdown(literal(said.sentence))


def matching(wanted: str) -> Iterator[tuple[str, list[Outline]]]:
    """Theme → its questions in which all words of a search stand: in the question, its name, or a figure's title."""
    words = wanted.lower().split()
    for theme, asked in questions().items():
        titles = {o: " ".join(figure(name).title for name in o.figures) for o in asked}
        texts = {o: f"{sentence(o)} {o.name} {theme} {titles[o]}".lower() for o in asked}
        if fitting := [o for o in asked if all(word in texts[o] for word in words)]:
            yield theme, fitting


def holding(found: Contents) -> None:
    """The way to the claims, with how many hold where that is known."""
    answered = judged(found, start=False)
    st.page_link("views/claims.py", label="**What holds here**", icon=":material/fact_check:")
    said = f": {tally(answered.verdicts)}" if answered is not None else ""
    st.caption(f"The claims of the literature, judged by these records{said}.")


def wall(found: Contents, shown: Mapping[str, Sequence[Outline]], *, folded: bool) -> int:
    """Cards by theme, what is measured first; returns how many were left to be drawn.

    Args:
        found: what the stores hold.
        shown: theme → its questions.
        folded: whether a theme's cards are sent only when somebody opens it; the address says which are open.
    """
    until, later = time.thread_time() + AT_ONCE, list[Outline]()
    missing = 0
    for theme, asked in shown.items():
        if not folded:
            st.subheader(theme, anchor=False)
            missing += cards(found, asked, until)
            continue
        name = f"**{theme}** · {counted(len(asked), 'question')}"
        box = st.expander(name, key=theme.replace(" ", "-").lower(), bind="query-params")
        if box.open:
            with box:
                missing += cards(found, asked, until)
        else:
            later += asked
    return missing + sum(made(found, outline, until) is None for outline in later)


def cards(found: Contents, asked: Sequence[Outline], until: float) -> int:
    """The cards of a theme, three in a row; returns how many were left to be drawn."""
    missing = 0
    ordered = sorted(asked, key=lambda outline: not answerable(found, outline))
    for start in range(0, len(ordered), WIDE):
        for place, outline in zip(st.columns(WIDE), ordered[start : start + WIDE], strict=False):
            there = made(found, outline, until)
            missing += there is None
            with place:
                show(outline, there)
    return missing


def made(found: Contents, outline: Outline, until: float) -> Card | None:
    """The card of a question; None where it is to be drawn and the time is over [s of processor time]."""
    there = known(found, outline)
    return card(found, outline) if there is None and time.thread_time() < until else there


@st.fragment(run_every=1.0)
def growing(found: Contents, shown: Mapping[str, Sequence[Outline]], *, folded: bool) -> None:
    """The wall where some cards were never drawn: a few more every second, until all are there."""
    if not wall(found, shown, folded=folded):
        st.rerun(scope="app")


st.title("deltalab", anchor=False)
st.markdown("What does it take to adapt a frozen language model? Real models, with intervals, beside nulls.")
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)
warn(found.damage)
lead(found)
holding(found)
wanted = st.text_input(
    "Search the questions", type="search", key="search", bind="query-params", placeholder="rank, prefix, control …"
)
shown = dict(matching(wanted or ""))
folded = narrow("wall") and not wanted
if all(known(found, outline) is not None for asked in shown.values() for outline in asked):
    wall(found, shown, folded=folded)
else:
    growing(found, shown, folded=folded)
if not shown:
    st.info(f"No question holds all of these words: {literal(wanted)}", icon=":material/search:")
mine = len(found.mine)
st.caption(
    f"{counted(len(found.manifests), 'record')}: {mine} of your own, {len(found.manifests) - mine} of the lab's."
)
