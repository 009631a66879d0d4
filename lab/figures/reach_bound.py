"""How far prompts move a head's output, beside how far the bound lets them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import BHARGAVA_2023
from lab.figures.style import Theme, fade, plain

_COLUMNS = {
    "head": Column("attention head of the first block", "count"),
    "tokens": Column("k, tokens of the prompt", "count"),
    "prompt": Column("random, optimised (for this head) or trained (for the task)", TEXT),
    "reached": Column("‖y_⊥‖: length of the output's part orthogonal to the bare output", "1"),
    "sharp": Column("bound that knows the query and the bare output", "1"),
    "published": Column("bound from norms of the matrices alone", "1"),
}
_SYMBOLS = ("circle", "diamond", "triangle-up")
_ORDER = ("random", "trained", "optimised")


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = go.Figure()
    bounds = table[table.prompt != "trained"] if (table.prompt != "trained").any() else table
    for name, title, dash in (("published", "bound from norms alone", "dash"), ("sharp", "sharp bound", "solid")):
        grouped = bounds.groupby("tokens")[name]
        low, middle, high = grouped.min(), grouped.median(), grouped.max()
        figure.add_scatter(
            x=[*low.index, *low.index[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines", hoverinfo="skip",
            line={"width": 0}, fillcolor=fade(theme.muted, 0.16), showlegend=False,
        )  # fmt: skip
        figure.add_scatter(
            x=middle.index, y=middle, mode="lines", name=f"{title} (median and range over heads)",
            line={"color": theme.muted if name == "published" else theme.ink, "dash": dash, "width": 2},
            hovertemplate=f"k = %{{x}}: %{{y:.3g}}<extra>{title}</extra>",
        )  # fmt: skip
    prompts = sorted(dict.fromkeys(table.prompt), key=lambda p: (_ORDER.index(p) if p in _ORDER else 9, p))
    for i, prompt in enumerate(prompts):
        part = table[table.prompt == prompt]
        shift = 2 ** (0.09 * (i - 1))  # side by side
        figure.add_scatter(
            x=part.tokens * shift, y=part.reached, mode="markers", name=f"{plain(prompt)} prompts",
            marker={"color": fade(theme.colour(i), 0.7), "symbol": _SYMBOLS[i % len(_SYMBOLS)], "size": 7},
            customdata=np.stack([part["head"], part.tokens], axis=1),
            hovertemplate="head %{customdata[0]}, k = %{customdata[1]}: %{y:.3g}<extra>" + plain(prompt) + "</extra>",
        )  # fmt: skip
    ticks = sorted(table.tokens.unique())
    figure.update_xaxes(
        title_text="tokens of the prompt k [count]", type="log", tickvals=ticks, ticktext=[str(t) for t in ticks]
    )
    figure.update_yaxes(
        title_text="‖y<sub>⊥</sub>‖ at the first token [1]", type="log", exponentformat="power", dtick=1
    )
    figure.update_layout(height=420)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per kind of prompt and k: the largest reached/bound, its median, and how often the bound was passed."""
    ratio = table.reached / table.sharp
    rows = []
    for (prompt, k), part in table.groupby(["prompt", "tokens"], sort=False):
        own = ratio[part.index]
        rows.append(
            {"prompt": prompt, "k [count]": k, "points [count]": len(part), "median reached": part.reached.median(),
             "median sharp bound": part.sharp.median(), "median reached/bound": own.median(),
             "largest reached/bound": own.max(), "beyond the bound [count]": int((own > 1 + 1e-9).sum()),
             "median sharp/published": (part.sharp / part.published).median()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    ratio = table.reached / table.sharp
    parts = [
        f"{prompt} prompts reach {own.median():.2f} of the sharp bound in the median and {own.max():.2f} at most"
        for prompt, own in ratio.groupby(table.prompt, sort=False)
    ]
    beyond = int((ratio > 1 + 1e-9).sum())
    return f"{'; '.join(parts)}; {beyond} of {len(table)} points lie beyond the bound."


def _example() -> pd.DataFrame:
    """Made-up heads: bounds that saturate in k, points below them."""
    rng = np.random.default_rng(0)
    rows = []
    for head in range(6):
        for k in (1, 2, 4, 8):
            sharp = (4 + head) * k / (k + 2)
            for prompt, share in (("random", 0.05), ("random", 0.08), ("optimised", 0.75)):
                rows.append((head, k, prompt, sharp * share * (1 + 0.2 * rng.random()), sharp, 12.0 + head))
        rows.append((head, 8, "trained", 0.4 * (1 + 0.3 * rng.random()), (4 + head) * 0.8, 12.0 + head))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


REACH_BOUND = Figure(
    name="reach_bound",
    title="What a prompt can reach in a head",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=16,
    summary=_summary,
    describe=_describe,
    caption=(
        "Length of the part of a head's output that is orthogonal to its output without a prompt, against the number "
        "of prompt tokens: for random prompts, prompts optimised for the head, and a soft prompt trained on the task, "
        "beside the upper bound from the norms of the matrices and a sharper one that knows the query. First block, "
        "first token."
    ),
    reading=(
        "Everything above a head's bound is unreachable, whatever the prompt says: no point may lie above its own "
        "head's solid line (bands show the range over heads, so a point may lie above the median). The gap between "
        "optimised prompts and the sharp line is what the bound gives away; the gap between trained and optimised "
        "prompts is reach that the task did not use in this layer."
    ),
    source=(BHARGAVA_2023,),
    example=_example,
)
