"""Report: the figures that were collected, in an order, with a sentence each; downloaded as the folder of a paper."""

from __future__ import annotations

import re
from functools import partial

import streamlit as st

from app.basket import basket, folder
from app.markdown import literal
from app.panel import drawn, theme
from lab.figures import HOW_TO_GET_A_BROWSER, TableError, figure, find_browser
from lab.figures.sketch import sketch
from lab.paper import VENUES, Item, outline
from lab.paper.basket import LONGEST
from lab.runs import everything

_ADDRESS = re.compile(r"[a-z0-9_]*(\?[\w%+=&.~-]*)?")
"""Of a page of the explorer; an address that a file holds may be anything."""


@st.cache_data(max_entries=16, show_spinner="Setting the figures in the size of the venue …")
def promised(items: tuple[Item, ...], venue: str) -> list[str]:
    """What the folder would hold, a line each; `items` is what the cache compares."""
    return outline(basket().pieces(everything()), VENUES[venue])


def shown(item: Item, place: int, n: int) -> None:
    """One figure: its thumbnail, its sentence, and where it goes."""
    drawing, words, moves = st.columns([2, 5, 1], gap="medium", vertical_alignment="center")
    of = figure(item.figure)
    with words:
        st.markdown(f"**{place + 1}. {literal(of.title)}**")
        try:
            table = basket().table(item)
            picture, said = drawn(of, table)
            drawing.image(sketch(picture, theme()), width="stretch", alt=said.sentence)
            st.caption(literal(said.sentence))
        except TableError as error:
            st.error(literal(error), icon=":material/error:")
        key, seen = f"sentence-{item.name}", f"seen-{item.name}"
        if st.session_state.get(seen) != item.sentence:  # new to this tab: said in another one, or just here
            st.session_state[seen] = st.session_state[key] = item.sentence
        st.text_area(
            f"What figure {place + 1} shows", key=key, max_chars=LONGEST, height=80,
            placeholder="A sentence of yours; it stands before the answer.",
            on_change=lambda: basket().say(item.name, st.session_state[key]),
        )  # fmt: skip
        if item.address and _ADDRESS.fullmatch(item.address):
            st.markdown(f"[Where it was found](/{item.address})")
    with moves:
        move, drop = basket().move, basket().remove
        up, down, out = f"up-{item.name}", f"down-{item.name}", f"out-{item.name}"
        st.button("Up", key=up, icon=":material/arrow_upward:", on_click=move, args=(item.name, -1), disabled=not place)
        last = place + 1 == n
        st.button("Down", key=down, icon=":material/arrow_downward:", on_click=move, args=(item.name, 1), disabled=last)
        st.button("Remove", key=out, icon=":material/delete:", on_click=drop, args=(item.name,))


@st.fragment(run_every=3.0)
def keep_up(seen: tuple[Item, ...]) -> None:
    """Draws the page again when another tab has changed the basket."""
    if basket().items() != seen:
        st.rerun(scope="app")


st.title("Report", anchor=False)
st.markdown("#### The figures you collected, as the folder of a paper that compiles")
items = basket().items()
keep_up(items)
if not items:
    st.info("No figure is collected yet. “Add to report” stands below every figure.", icon=":material/add_notes:")
    st.stop()
for place, item in enumerate(items):
    with st.container(border=True):
        shown(item, place, len(items))

st.subheader("The paper", anchor=False)
venue = st.segmented_control("Venue", list(VENUES), default="neurips", key="venue", required=True, bind="query-params")
venue = venue if venue in VENUES else "neurips"
browser = find_browser() is not None
pgf = st.checkbox("Drawn by PGFPlots, in the type of the paper, where that can be", key="pgf", bind="query-params")
if not browser:
    st.warning(literal(HOW_TO_GET_A_BROWSER), icon=":material/warning:")
try:
    for line in promised(items, venue):
        st.markdown(f"- {literal(line)}")
    name = f"paper-{venue}.zip"
    says = "main.tex, figures, tables, captions, references, and where every number is from."
    st.download_button(
        "Download the folder", partial(folder, venue, pgf), file_name=name, mime="application/zip", type="primary",
        icon=":material/folder_zip:", on_click="ignore", help=says, disabled=not (browser or pgf), key="paper",
    )  # fmt: skip
except TableError as error:
    st.error(literal(error), icon=":material/error:")
with st.expander("Reproduce this", icon=":material/replay:"):
    st.code(f"deltalab paper basket --venue {venue} --out paper", language="bash")
