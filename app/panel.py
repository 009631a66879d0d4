"""One figure on a page: drawing and answer; folded below, its numbers, meaning, commands and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app.basket import offer
from app.clicks import clickable, leads_to, rows_at
from app.downloads import downloads
from app.filters import word
from app.markdown import literal
from app.naming import SHOWN_KEY, describe
from app.width import page_size, settings, size_of, watch
from lab.figures import LIGHT, THEMES, Figure, TableError, Theme
from lab.runs import Manifest
from lab.statistics import Answer
from lab.study.again import again

LISTED = 12
"""Records that a clicked mean lists."""


def panel(figure: Figure, table: pd.DataFrame, manifests: Sequence[Manifest], *, command: str | None = None) -> None:
    """Shows a figure of a table whose rows come from these records, or from a command where they are in none."""
    said = draw_or_stop(figure, table)
    st.markdown(literal(said.sentence))
    details(figure, table, manifests, said, command=command)


def draw_or_stop(figure: Figure, table: pd.DataFrame, filters: Sequence[str] = ()) -> Answer:
    """Draws a figure and returns its answer; ends the page where the table cannot be drawn.

    A click on a layer or matrix narrows the page to it, where it has such a filter; on any other point it opens the
    record.

    Args:
        figure: what is drawn.
        table: of rows with their `key`, where they are from records.
        filters: columns that the page's filters narrow.
    """
    with st.container(gap=None):
        watch(figure.name)
        try:
            drawing, said = drawn(figure, table)
        except TableError as error:
            st.error(f"This cannot be drawn: {literal(error)}", icon=":material/error:")
            st.stop()
        shown = _clickable(figure.name, theme().name, page_size(figure.name).width, table, drawing)
        clicks = st.session_state.setdefault(f"clicks-{figure.name}", 0)  # a new key forgets what was selected
        key = f"figure-{figure.name}" + (f"-{clicks}" if clicks else "")
        st.plotly_chart(
            shown, theme=None, config=settings(), alt=said.sentence, key=key, selection_mode="points",
            on_select=partial(_clicked, key, figure, table, shown, filters),
        )  # fmt: skip
    if keys := st.session_state.pop("clicked", None):
        _open(keys)
    return said


def _clicked(key: str, figure: Figure, table: pd.DataFrame, shown: go.Figure, filters: Sequence[str]) -> None:
    """Keeps where a click leads, for the page that is drawn next."""
    points = st.session_state[key].selection.points
    st.session_state[f"clicks-{figure.name}"] += 1
    if points:
        narrowed, keys = leads_to(rows_at(table, shown, points[0]), table, filters)
        for column, value in narrowed.items():
            st.session_state[column] = [word(value)]
        st.session_state["clicked"] = keys


def _open(keys: Sequence[str]) -> None:
    """Opens the record that was clicked; of several, lists links to them."""
    if len(keys) == 1:
        st.switch_page("views/record.py", query_params={"record": keys[0][:SHOWN_KEY]})
    links = [f"[{key[:SHOWN_KEY]}](/record?record={key[:SHOWN_KEY]})" for key in keys[:LISTED]]
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    st.caption(f"This point is of {len(keys)} records: {', '.join(links)}{more}")


def theme() -> Theme:
    """The theme of the page."""
    return THEMES.get(st.context.theme.type or "", LIGHT)


def drawn(figure: Figure, table: pd.DataFrame) -> tuple[go.Figure, Answer]:
    """A figure of a table in the page's theme and width, and its answer; each is drawn once for all sessions."""
    return _drawn(figure.name, theme().name, page_size(figure.name).width, table, figure), _said(
        figure.name, table, figure
    )


def panels(figure: Figure, table: pd.DataFrame) -> int:
    """In how many panels a table is drawn, without drawing it; none where it cannot be drawn."""
    try:
        return _counted(figure.name, table, figure)
    except TableError:
        return 0


@st.cache_resource(max_entries=256, show_spinner=False)
def _counted(name: str, table: pd.DataFrame, _figure: Figure) -> int:
    return len(_figure.grid(table).panels)


@st.cache_resource(max_entries=256, show_spinner=False)
def _drawn(name: str, theme: str, width: int, table: pd.DataFrame, _figure: Figure) -> go.Figure:
    return _figure.draw(table, THEMES[theme], size_of(width))


@st.cache_resource(max_entries=256, show_spinner=False)
def _said(name: str, table: pd.DataFrame, _figure: Figure) -> Answer:
    return _figure.answer(table)


@st.cache_resource(max_entries=256, show_spinner=False)
def _clickable(name: str, theme: str, width: int, table: pd.DataFrame, _drawing: go.Figure) -> go.Figure:
    return clickable(_drawing)


def details(
    figure: Figure, table: pd.DataFrame, manifests: Sequence[Manifest], said: Answer, *, command: str | None = None
) -> None:
    """What belongs to a figure and is asked for less often, folded: numbers, meaning, sources, commands, files."""
    offer(figure, table, command=command or "")
    with st.expander("The numbers", icon=":material/table:"):
        st.dataframe(said.table, hide_index=True, alt=f"The answers of the figure {figure.title} as a table")
    with st.expander("What is this, how to read it, where it comes from", icon=":material/help:"):
        st.markdown(f"**What it is.** {literal(figure.caption)}")
        st.markdown(f"**How to read it.** {literal(figure.reading)}")
        st.markdown("**Where it comes from.**")
        for source in figure.source:
            cited = literal(source.citation)
            st.markdown(f"- {literal(source.title)}: " + (f"[{cited}]({source.url})" if source.url else cited))
    with st.expander("Reproduce this", icon=":material/replay:"):
        if command is None:
            reproduce(manifests, figure)
        else:
            st.caption("The same tables in a terminal; with --out FOLDER the figure as files:")
            st.code(command, language="bash")
    downloads(figure, table, manifests)


def reproduce(manifests: Sequence[Manifest], figure: Figure | None = None) -> None:
    """Commands, seeds, versions and machine of records, and the command that writes the figure."""
    st.caption("The same command, seeds and versions give the same numbers; what is in the store is not run again.")
    commands = dict.fromkeys(
        str(m.provenance.get("command") or again(m.job.experiment, m.job.config)) for m in manifests
    )
    st.code("\n".join(commands), language="bash")
    if figure is not None:
        st.caption("The figure as files:")
        st.code(f"deltalab export {figure.name}", language="bash")
    for manifest in manifests[:8]:
        made = manifest.provenance
        st.markdown(f"**{literal(describe(manifest))}**, record `{manifest.key[:SHOWN_KEY]}`")
        facts = {name: made[name] for name in ("seeds", "device", "threads", "commit", "started") if made.get(name)}
        versions = made.get("packages")
        st.code(
            json.dumps({"job": dict(manifest.job.config), **facts, "packages": versions}, indent=1), language="json"
        )
    if len(manifests) > 8:
        st.caption(f"and {len(manifests) - 8} more records; `deltalab show KEY` prints each.")
