"""The browser's history: Back leads from a page to the very view from which it was opened."""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st

_KEEP = """
// On the way to another page Streamlit pushes an entry of the old page without what was chosen there. Entries of the
// page one is on wait here until the run has ended; where it leads to another page, they are not made.
export default function () {
  const history = window.history;
  if (history.deltalab) return;
  history.deltalab = true;
  const push = history.pushState.bind(history);
  let waiting = null;
  const forget = () => { clearInterval(waiting); waiting = null; };
  const atWork = () => {
    const state = document.querySelector("[data-testid=stApp]")?.getAttribute("data-test-script-state");
    return state && state !== "notRunning";
  };
  history.pushState = (state, title, url) => {
    forget();
    if (new URL(url ?? "", location.href).pathname !== location.pathname) return push(state, title, url);
    let idle = 0;
    waiting = setInterval(() => {
      idle = atWork() ? 0 : idle + 1;
      if (idle > 2) { forget(); push(state, title, url); }
    }, 100);
  };
  window.addEventListener("popstate", forget);
}
"""


def keep_history() -> None:
    """Has the browser make no entry of its history that nobody asked for; takes no room."""
    with st.sidebar:
        _component()(key="history")


@cache
def _component() -> Any:
    return st.components.v2.component("deltalab_history", js=_KEEP)
