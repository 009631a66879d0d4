"""Playgrounds: problems whose answer is known, closed form beside simulation, at once."""

from __future__ import annotations

import importlib
from typing import Any

import pandas as pd
import streamlit as st

from app.panel import theme
from app.playgrounds.playground import Playground
from app.width import page_size, settings, watch

ROOMS = {
    "A quadratic": "quadratic", "Linear dynamics": "linear_quadratic", "A spike in noise": "spike",
    "Random projections": "projections", "Shared subspaces": "shared",
}  # fmt: skip
"""What a playground is called here → its module; imported when it is opened, since some bring torch."""


@st.cache_data(max_entries=512, show_spinner="Simulating …")
def simulated(room: str, **knobs: Any) -> pd.DataFrame:
    """The table of a playground; the same knobs give the same table."""
    return playground(room).simulate(**knobs)


def playground(room: str) -> Playground:
    found: Playground = importlib.import_module(f"app.playgrounds.{ROOMS[room]}").PLAYGROUND
    return found


st.title("Playgrounds", anchor=False)
chosen = st.segmented_control(
    "Problem", list(ROOMS), default=next(iter(ROOMS)), key="room", required=True, bind="query-params"
)
room = chosen or next(iter(ROOMS))
with st.spinner("Opening the playground …", show_time=True):
    here = playground(room)
st.markdown(f"#### {here.question}")
said = st.container()
picture, knobs = st.columns([4, 1], gap="medium")
with knobs:
    values = {
        name: st.select_slider(title, options, value=first, key=f"{ROOMS[room]}-{name}")
        for name, (title, options, first) in here.knobs.items()
    }
table = simulated(room, **values)
said.markdown(here.answer(table))
with picture:
    watch("play")
    st.plotly_chart(
        here.draw(table, theme()).figure(page_size("play")),
        theme=None,
        config=settings(),
        alt=here.answer(table),
        key="play",
    )
st.caption(here.theory)
