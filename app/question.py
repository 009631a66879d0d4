"""A page for each question: what is asked, the answer, one figure with its choices beside it, the rest folded."""

from __future__ import annotations

import streamlit as st

from app.loading import Contents
from app.markdown import literal
from app.panel import details, draw_or_stop
from app.slices import FILTERS, choose, narrowed, rows_or_stop
from app.states import found_or_stop, nothing_yet
from lab.figures import Figure, figure
from lab.study.catalogue import Outline, outlines

THEMES = {
    "dimension": "How many dimensions", "weights": "What changes in the weights", "loss": "How the loss bends",
    "methods": "The methods compared", "control": "The control view",
}  # fmt: skip
"""Group of a question's first figure → the theme under which it stands."""


def questions() -> dict[str, list[Outline]]:
    """Theme → its questions; every experiment that draws something but the training run, which is no question."""
    asked: dict[str, list[Outline]] = {theme: [] for theme in THEMES.values()}
    for outline in outlines():
        if outline.scaled and outline.figures and outline.view != "run":
            asked[THEMES.get(figure(outline.figures[0]).group, THEMES["methods"])].append(outline)
    return {theme: found for theme, found in asked.items() if found}


def title(outline: Outline) -> str:
    """The name of a question in a menu."""
    return outline.name.replace("_", " ").replace("generalization", "generalisation").capitalize()


def sentence(outline: Outline) -> str:
    """The question, with a capital."""
    return outline.question[:1].upper() + outline.question[1:]


def answerable(found: Contents, outline: Outline) -> dict[str, Figure]:
    """Title → figure, of the figures that some record of the question can draw."""
    own = found.of_experiment(outline.name)
    there = {table for manifest in own for table in manifest.tables}
    return {drawn.title: drawn for drawn in map(figure, outline.figures) if drawn.table in there}


def page(outline: Outline) -> st.Page:
    """The page of a question; its address is the experiment's name."""

    def show() -> None:
        st.title(title(outline), anchor=False)
        st.markdown(f"#### {literal(sentence(outline))}")
        found = found_or_stop()
        figures = answerable(found, outline)
        if not figures:
            nothing_yet(f"measurement of “{title(outline)}”", outline.name, found)
        answer = st.container()
        picture, choices = st.columns([3, 1], gap="small")
        with choices:
            named = next(iter(figures))
            if len(figures) > 1:
                named = st.radio("Figure", list(figures), key="figure", bind="query-params") or named
            drawn = figures[named]
            manifests = tuple(m for m in found.of_experiment(outline.name) if drawn.table in m.tables)
            chosen = choose(manifests, outline, drawn)
        with answer:
            table = rows_or_stop(chosen, drawn, found.damage)
        with choices:
            table = narrowed(table, drawn)
        shown = found.of(table["key"].unique())
        with picture:
            said = draw_or_stop(drawn, table, list(FILTERS))
        answer.markdown(literal(said.sentence))
        details(drawn, table, shown, said)

    return st.Page(show, title=title(outline), url_path=outline.name)
