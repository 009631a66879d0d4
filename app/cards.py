"""A question as a card: what is asked, what the newest records answer, and the figure without its words.

A card is drawn once: from then on it is found in the cache folder, by what it is drawn from and by the code that draws.
"""

from __future__ import annotations

import threading
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from app import shelf
from app.loading import Contents
from app.markdown import literal
from app.panel import drawn, theme
from app.question import answerable, page, sentence, title
from app.slices import at_first, newest, rows
from lab.figures import Figure, TableError
from lab.figures.grammar import cut
from lab.figures.sketch import sketch
from lab.runs import Manifest
from lab.study.catalogue import Outline

_TURN = threading.Lock()
"""Of many sessions that ask for the same cards one draws them."""


class Card(NamedTuple):
    """What a question's card shows.

    Attributes:
        answer: sentences, of the newest records; "" without any.
        picture: an SVG; "" without any.
    """

    answer: str
    picture: str


class _Asked(NamedTuple):
    """What a card is drawn from, and its digest together with the code that draws."""

    figure: Figure
    manifests: tuple[Manifest, ...]
    identity: str


def card(found: Contents, outline: Outline) -> Card:
    """The card of a question, from its first figure that some record can draw; drawn once for all sessions."""
    asked = _asked(found, outline)
    if asked is None:
        return Card("", "")
    with _TURN:
        return _taken(asked) or _drawn(asked, outline)


def known(found: Contents, outline: Outline) -> Card | None:
    """The card of a question where nothing needs to be drawn for it; else None."""
    asked = _asked(found, outline)
    return Card("", "") if asked is None else _taken(asked)


def _asked(found: Contents, outline: Outline) -> _Asked | None:
    """None where no record can draw a figure of the question."""
    name = ("card", outline.name, theme().name, code())
    if name not in found.memory:
        found.memory[name] = _chosen(found, outline)
    asked: _Asked | None = found.memory[name]
    return asked


def _chosen(found: Contents, outline: Outline) -> _Asked | None:
    for figure in answerable(found, outline).values():
        own = [m for m in found.of_experiment(outline.name) if figure.table in m.tables]
        manifests = newest(own, outline, figure, count=False)
        files = [(m.key, *(m.files[f"{table}.parquet"]["sha256"] for table in m.tables)) for m in manifests]
        digest = sha256(repr((code(), figure.name, theme().name, files)).encode()).hexdigest()
        return _Asked(figure, manifests, digest)
    return None


def _taken(asked: _Asked) -> Card | None:
    """A card that was drawn before, by this server or an earlier one."""
    memory = _memory()
    if asked.identity not in memory:
        texts = shelf.taken(asked.identity)
        if texts is None or set(texts) != set(Card._fields):
            return None
        memory[asked.identity] = Card(**texts)
    return memory[asked.identity]


@st.cache_resource(show_spinner=False)
def _memory() -> dict[str, Card]:
    """The cards that this server has shown, by their identity."""
    return {}


def _drawn(asked: _Asked, outline: Outline) -> Card:
    table, damage = rows(newest(asked.manifests, outline, asked.figure), asked.figure)
    try:
        if table.empty:
            raise TableError(next(iter(damage), ""))
        picture, said = drawn(asked.figure, at_first(table, asked.figure))
        made = Card(said.sentence, sketch(picture, theme()))
        if not damage:
            shelf.put(asked.identity, made._asdict())
    except TableError as error:
        made = Card(str(error), "")
    _memory()[asked.identity] = made
    return made


def code() -> str:
    """sha256 of the code that draws cards."""
    here = Path(__file__).parent
    return shelf.code(here, *(here.parent / "lab" / name for name in ("figures", "statistics", "runs", "study")))


def show(outline: Outline, found: Card | None) -> None:
    """Draws a card; its name is a link to the question's page; None: it is still to be drawn."""
    with st.container(border=True, height="stretch"):
        if found is not None and found.picture:
            st.image(found.picture, width="stretch", alt="")
        label, icon = f"**{title(outline)}**", ":material/arrow_forward:"
        st.page_link(page(outline), label=label, icon=icon, icon_position="right")
        st.markdown(literal(sentence(outline)))
        if found is None:
            st.caption(WAITING)
        else:
            st.caption(literal(brief(found.answer)) or f"Not measured yet: `deltalab run {outline.name}`")


def brief(answer: str, longest: int = 180) -> str:
    """The first parts of an answer that is too long for a card; its page says the rest.

    Example:
        >>> brief("Scores: LoRA 0.91; BitFit 0.88; prefix 0.83.", 36)
        'Scores: LoRA 0.91; BitFit 0.88; …'
    """
    if len(answer) <= longest:
        return answer
    parts = answer[: longest - 2].rpartition("; ")[0]
    return f"{parts}; …" if parts else cut(answer, longest)


WAITING = "The answer is being drawn …"
"""Under a card that is not drawn yet."""
