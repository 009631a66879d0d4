"""The explorer: ``deltalab app``. One page per question; what a page shows is in its address."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.address import keep_history
from app.question import page, questions
from app.width import WIDTH

# An icon of our own: the favicon of a ":material/…:" name would be fetched from a font server.
st.set_page_config(page_title="deltalab", page_icon=str(Path(__file__).parent / "icon.svg"), layout="wide")

PAGES = {
    "": [
        st.Page("views/home.py", title="Home", icon=":material/home:", default=True),
        st.Page("views/claims.py", title="What holds here", icon=":material/fact_check:"),
        st.Page("views/control_room.py", title="Control room", icon=":material/joystick:"),
        st.Page("views/open_weights.py", title="Open weights", icon=":material/folder_open:"),
        st.Page("views/runs.py", title="Runs", icon=":material/list:"),
        st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page("views/record.py", title="Record", icon=":material/description:"),
        st.Page("views/report.py", title="Report", icon=":material/article:"),
        st.Page("views/new_run.py", title="New run", icon=":material/play_arrow:"),
        st.Page("views/playgrounds.py", title="Playgrounds", icon=":material/tune:"),
    ],
} | {theme: [page(outline) for outline in asked] for theme, asked in questions().items()}

current = st.navigation(PAGES, expanded=True)
keep_history()
if st.session_state.get("page", current.url_path) != current.url_path:
    # what was chosen on one page is no choice on another; how wide the window is, is
    kept = {name: st.session_state[name] for name in (WIDTH,) if name in st.session_state}
    st.session_state.clear()
    st.session_state.update(kept)
st.session_state["page"] = current.url_path
current.run()
