"""A question as a card: what is asked, what the newest records answer, and the figure without its words.

A card is drawn once: from then on it is found in the cache folder, by what it is drawn from and by the code that draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from app import shelf
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
    drawn_from = [(m.key, *(m.files[f"{table}.parquet"]["sha256"] for table in m.tables)) for m in _manifests]
    identity = sha256(repr((code(), name, theme_name, drawn_from)).encode()).hexdigest()
    kept = shelf.taken(identity)
    if kept is not None and set(kept) == set(Card._fields):
        return Card(**kept)
    table, damage = rows(newest(_manifests, _outline, _figure), _figure)
    if table.empty:
        return Card(next(iter(damage), ""), "")
    try:
        picture, said = drawn(_figure, unmixed(table, _figure))
    except TableError as error:
        return Card(str(error), "")
    made = Card(said.sentence, sketch(picture, theme()))
    if not damage:
        shelf.put(identity, made._asdict())
    return made


@cache
def code() -> str:
    """sha256 of the code that draws cards: after a change of it they are drawn anew."""
    here = Path(__file__).parent
    lab = here.parent / "lab"
    total = sha256()
    for folder in (here, lab / "figures", lab / "statistics", lab / "runs", lab / "study"):
        for file in sorted(folder.rglob("*.py")):
            total.update(file.read_bytes())
    return total.hexdigest()


def show(outline: Outline, found: Card) -> None:
    """Draws a card; its name is a link to the question's page."""
    with st.container(border=True, height="stretch"):
        if found.picture:
            st.image(found.picture, width="stretch", alt="")
        label, icon = f"**{title(outline)}**", ":material/arrow_forward:"
        st.page_link(page(outline), label=label, icon=icon, icon_position="right")
        st.markdown(literal(sentence(outline)))
        st.caption(literal(found.answer) or f"Not measured yet: `deltalab run {outline.name}`")
