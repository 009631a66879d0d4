"""Home: one answer to play with, then every question with its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import streamlit as st

from app.cards import card, show
from app.loading import Contents, table_of
from app.markdown import literal
from app.panel import draw_or_stop
from app.question import answerable, questions, sentence
from app.slices import newest, rows
from app.states import found_or_stop, nothing_yet, warn
from lab.figures import INTRINSIC_DIMENSION, figure
from lab.study.catalogue import Outline, outline_of

WIDE = 3
"""Cards in a row."""


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


def wall(found: Contents, asked: Sequence[Outline]) -> None:
    """Cards, as they are made."""
    for start in range(0, len(asked), WIDE):
        for place, outline in zip(st.columns(WIDE), asked[start : start + WIDE], strict=False):
            with place:
                show(outline, card(found, outline))


st.title("deltalab", anchor=False)
st.markdown("What does it take to adapt a frozen language model? Real models, with intervals, beside nulls.")
found = found_or_stop()
if not found.manifests:
    nothing_yet("record", "intrinsic_dimension", found)
warn(found.damage)
lead(found)
wanted = st.text_input(
    "Search the questions", type="search", key="search", bind="query-params", placeholder="rank, prefix, control …"
)
shown = dict(matching(wanted or ""))
for theme, asked in shown.items():
    st.subheader(theme, anchor=False)
    wall(found, sorted(asked, key=lambda outline: not answerable(found, outline)))  # what is measured first
if not shown:
    st.info(f"No question holds all of these words: {literal(wanted)}", icon=":material/search:")
mine = len(found.mine)
st.caption(f"{len(found.manifests)} records, {mine} of them your own; the others came with the lab.")
