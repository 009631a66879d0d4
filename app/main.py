"""The explorer: ``deltalab app``. One page per question; what a page shows is in its address."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

# An icon of our own: the favicon of a ":material/…:" name would be fetched from a font server.
st.set_page_config(page_title="deltalab", page_icon=str(Path(__file__).parent / "icon.svg"), layout="wide")

PAGES = {
    "": [
        st.Page("views/home.py", title="Home", icon=":material/home:", default=True),
        st.Page("views/runs.py", title="Runs", icon=":material/list:"),
    ],
    "The optimisation view": [
        st.Page("views/intrinsic_dimension.py", title="Intrinsic dimension", icon=":material/show_chart:"),
        st.Page("views/weight_differences.py", title="Weight differences", icon=":material/stacked_line_chart:"),
        st.Page("views/open_weights.py", title="Open weights", icon=":material/folder_open:"),
        st.Page("views/loss_landscape.py", title="Loss landscape and curvature", icon=":material/landscape:"),
    ],
    "The methods compared": [
        st.Page("views/methods.py", title="The methods compared", icon=":material/compare_arrows:"),
    ],
    "The optimal-control view": [
        st.Page("views/optimal_control.py", title="Optimal control", icon=":material/route:"),
    ],
}

st.navigation(PAGES).run()
