"""Drawings as PDF, SVG or PNG by an installed Chrome or Chromium; nothing is fetched from anywhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import plotly.graph_objects as go

HOW_TO_GET_A_BROWSER = (
    "PDF, SVG and PNG need Chrome or Chromium: install one (Debian, Ubuntu: apt-get install chromium), or run "
    "plotly_get_chrome, or set BROWSER_PATH to one that is elsewhere"
)

TIMEOUT = 90.0
"""Seconds for one image; kaleido's own default, far above the 0.2 s an image takes."""


class ImageError(RuntimeError):
    """A drawing could not be turned into an image; the message says what to do."""


def find_browser() -> str | None:
    """Path of the Chrome or Chromium that would be used, None if there is none."""
    from choreographer.browsers.chromium import Chromium  # half a second, for those who ask for images

    path = Chromium.find_browser(skip_local=False)
    return str(path) if path else None


def images(drawings: Sequence[tuple[go.Figure, str]], scale: float = 1.0) -> list[bytes]:
    """Renders (drawing, format) pairs with one start of the browser (about 2 s, then 0.2 s each).

    Runs in a thread of its own, so that it works where an event loop is already running (notebooks, the explorer).

    Args:
        drawings: each with one of `IMAGE_FORMATS`.
        scale: pixels of a PNG per layout pixel.

    Raises:
        ImageError: no browser was found, or it failed.
    """
    if find_browser() is None:
        raise ImageError(HOW_TO_GET_A_BROWSER)
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            return pool.submit(asyncio.run, _render(drawings, scale)).result()
        except Exception as error:  # the browser fails in many ways (sandbox, memory, time); all mean: no image
            raise ImageError(
                f"the browser at {find_browser()} could not draw the figure "
                f"({type(error).__name__}: {error}); {HOW_TO_GET_A_BROWSER}"
            ) from error


async def _render(drawings: Sequence[tuple[go.Figure, str]], scale: float) -> list[bytes]:
    import kaleido

    logging.getLogger("choreographer").setLevel(logging.ERROR)
    found = []
    async with kaleido.Kaleido(n=1, timeout=TIMEOUT, mathjax=False) as browser:  # MathJax would come from a CDN
        for drawing, kind in drawings:
            options = {"format": kind, "scale": scale if kind == "png" else 1}
            options |= {"width": drawing.layout.width or 960, "height": drawing.layout.height or 480}
            found.append(await browser.calc_fig(drawing.to_dict(), opts=options))
    return found
