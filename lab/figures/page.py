"""A figure as one HTML file that works offline: drawing, answer, caption, reading help, sources, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
import plotly.graph_objects as go
import plotly.io

from lab.figures.sources import Source
from lab.figures.style import CONFIG, FONT, Theme

# Nothing may be fetched, whatever a table holds: no connection, no frame, no remote script, style, image or font.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "form-action 'none'; base-uri 'none'"
)

_PLOT = "figure"  # a fixed name, so that the same table gives the same file


def page(
    drawing: go.Figure,
    *,
    title: str,
    alt: str,
    theme: Theme,
    answer: pd.DataFrame | None = None,
    caption: str = "",
    reading: str = "",
    sources: Sequence[Source] = (),
    provenance: Mapping[str, str] | None = None,
) -> str:
    """The HTML text; plotly.js (4.5 MB) is part of it.

    Args:
        drawing: the plotly figure.
        title: heading and window title.
        alt: what a screen reader says instead of the figure.
        theme: colours of the page around the figure.
        answer: a small table shown below the figure.
        caption, reading, sources: from the `Figure`.
        provenance: name → value, shown as "How it was made".
    """
    plot = plotly.io.to_html(drawing, config=dict(CONFIG), include_plotlyjs=True, full_html=False, div_id=_PLOT)
    parts = [f'<div role="img" aria-label="{escape(alt)}">{plot}</div>']
    if caption:
        parts.append(f"<p class=caption>{escape(caption)}</p>")
    if answer is not None:
        parts.append(_table(answer))
    if reading:
        parts.append(f"<h2>How to read it</h2><p>{escape(reading)}</p>")
    if sources:
        items = "".join(f"<li>{escape(s.citation)}: {escape(s.title)}</li>" for s in sources)
        parts.append(f"<h2>Sources</h2><ul>{items}</ul>")
    if provenance:
        items = "".join(
            f"<dt>{escape(name)}</dt><dd><code>{escape(text)}</code></dd>" for name, text in provenance.items()
        )
        parts.append(f"<h2>How it was made</h2><dl>{items}</dl>")
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_style(theme)}</style></head><body><main><h1>{escape(title)}</h1>{''.join(parts)}</main></body></html>\n"
    )


def _table(answer: pd.DataFrame) -> str:
    header = "".join(f"<th scope=col>{escape(str(name))}</th>" for name in answer.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(value))}</td>" for value in row) + "</tr>"
        for row in answer.itertuples(index=False)
    )
    return f"<div class=wide><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>"


def _shown(value: object) -> str:
    if isinstance(value, float):
        if value != value:
            return "–"
        return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def _style(theme: Theme) -> str:
    return (
        f"body{{margin:0;background:{theme.background};color:{theme.ink};font:16px/1.5 {FONT}}}"
        "main{max-width:1000px;margin:0 auto;padding:1.5rem}"
        "h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}"
        f".caption{{color:{theme.muted}}}.wide{{overflow-x:auto}}"
        "table{border-collapse:collapse;font-size:.9rem}"
        f"td,th{{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid {theme.grid}}}"
        f"dt{{color:{theme.muted}}}dd{{margin:0 0 .5rem}}code{{white-space:pre-wrap;overflow-wrap:anywhere}}"
    )
