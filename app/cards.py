"""A question as a card: what is asked, what the newest records answer, and the figure without its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from app.loading import Contents
from app.markdown import literal
from app.panel import drawn, theme
from app.question import answerable, page, sentence, title
from app.slices import newest, rows, unmixed
from lab.figures import Figure, TableError
from lab.figures.sketch import sketch
from lab.runs import Manifest
from lab.study.catalogue import Outline


class Card(NamedTuple):
    """What a question's card shows.

    Attributes:
        answer: sentences, of the newest records; "" without any.
        picture: an SVG; "" without any.
    """

    answer: str
    picture: str


def card(found: Contents, outline: Outline) -> Card:
    """The card of a question, from its first figure that some record can draw; made once for all sessions."""
    for figure in answerable(found, outline).values():
        manifests = newest([m for m in found.of_experiment(outline.name) if figure.table in m.tables], outline)
        return _card(
            figure.name, tuple(manifest.key for manifest in manifests), theme().name, figure, manifests, outline
        )
    return Card("", "")


@st.cache_data(max_entries=256, show_spinner=False)
def _card(
    name: str, keys: Sequence[str], theme_name: str, _figure: Figure, _manifests: Sequence[Manifest], _outline: Outline
) -> Card:
    """`name`, `keys` and `theme_name` are what the cache compares."""
    table, damage = rows(newest(_manifests, _outline, _figure), _figure)
    if table.empty:
        return Card(next(iter(damage), ""), "")
    try:
        picture, said = drawn(_figure, unmixed(table, _figure))
    except TableError as error:
        return Card(str(error), "")
    return Card(said.sentence, sketch(picture, theme()))


def show(outline: Outline, found: Card) -> None:
    """Draws a card; its name is a link to the question's page."""
    with st.container(border=True, height="stretch"):
        if found.picture:
            st.image(found.picture, width="stretch", alt="")
        label, icon = f"**{title(outline)}**", ":material/arrow_forward:"
        st.page_link(page(outline), label=label, icon=icon, icon_position="right")
        st.markdown(literal(sentence(outline)))
        st.caption(literal(found.answer) or f"Not measured yet: `deltalab run {outline.name}`")
