"""How wide the room for a figure is in the browser, so that a phone gets panels below each other."""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st

from lab.figures.style import CONFIG, SCREEN, Size

WIDTHS = (350, 480, 600, 720, 840, SCREEN.width)
"""Widths that figures are drawn for [px]: the largest that the room holds, so that one drawing serves many windows."""

WIDTH = "page-width"
"""Where a session keeps what its browser said: place → width."""

_LAST = ""

_COLUMNS = 600
"""Width [px] below which Streamlit sets columns below each other."""

_PHONE, _DESK = 350, 720  # what is drawn before the browser has said anything

_TELL = """
export default function ({ parentElement, data, setStateValue }) {
  const host = parentElement.host ?? parentElement;
  let waiting = 0;
  const tell = () => {
    const room = host.getBoundingClientRect().width;
    if (room < 50) return;  // hidden
    const width = data.widths.filter((one) => one <= room + 1).pop() ?? data.widths[0];
    if (width !== data.drawn) setStateValue("width", width);
  };
  const watched = new ResizeObserver(() => { clearTimeout(waiting); waiting = setTimeout(tell, 200); });
  watched.observe(host);
  return () => { clearTimeout(waiting); watched.disconnect(); };
}
"""


def page_size(key: str) -> Size:
    """The size of a figure at a place of this page, as far as the browser has told.

    Args:
        key: of the place; before it is known, it is taken to be as wide as the last one that is.
    """
    told = st.session_state.get(WIDTH, {})
    return size_of(told.get(key) or told.get(_LAST) or _guess())


def settings() -> dict[str, Any]:
    """plotly's settings of a drawing. Its row of buttons is for a mouse: on a phone it never goes, and hides titles."""
    return {**CONFIG, "displayModeBar": False} if _mobile() else dict(CONFIG)


def narrow(key: str) -> bool:
    """Whether the room here is a phone's, in which columns stand below each other; has the browser tell.

    Args:
        key: of the place, which is no figure's.
    """
    watch(key, _told(key))
    return _told(key) < _COLUMNS


def size_of(width: int) -> Size:
    """The size of a figure of one of the `WIDTHS`."""
    return SCREEN if width == SCREEN.width else Size(width=width, font=SCREEN.font, fixed=False)


def watch(key: str, drawn: int | None = None) -> None:
    """Has the browser tell the width of the room here; where it is another than drawn, the page is drawn again.

    Args:
        key: of the place; one figure, one key.
        drawn: the width that the place is drawn for [px]; default: that of a figure there.
    """
    drawn = drawn or page_size(key).width
    told = _component()(key=f"width-{key}", data={"widths": WIDTHS, "drawn": drawn}, on_width_change=_noted)
    width = told.get("width")
    if width in WIDTHS and width != drawn:
        st.session_state[WIDTH] = {**st.session_state.get(WIDTH, {}), key: width, _LAST: width}


def _noted() -> None:
    """A component's state has a callback; what it holds is read where the figure is drawn."""


@cache
def _component() -> Any:
    return st.components.v2.component("deltalab_width", js=_TELL)


def _told(key: str) -> int:
    """The width of a place that the browser told, or what is guessed [px]."""
    return int(st.session_state.get(WIDTH, {}).get(key) or _guess())


def _guess() -> int:
    """The width of a figure's room before the browser has said anything [px]."""
    return _PHONE if _mobile() else _DESK


def _mobile() -> bool:
    return "Mobi" in _browser()


def _browser() -> str:
    return str(st.context.headers.get("User-Agent", ""))
