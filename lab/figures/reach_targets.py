"""How near prompts bring a head to wanted outputs, beside the part that no prompt reaches."""

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
    "prompt": Column("free at the entrance of the block, soft (behind the embedding's LayerNorm), or trained", TEXT),
    "target": Column("which output is wanted", TEXT),
    "wanted": Column("‖P_⊥y*‖: length of the target's part orthogonal to the bare output", "1"),
    "bound": Column("how far any such prompt reaches", "1"),
    "missed": Column("‖y_⊥ − P_⊥y*‖/‖P_⊥y*‖ of the nearest prompt found", "fraction"),
    "least": Column("max(0, 1 − bound/wanted): what every prompt misses", "fraction"),
}
_NEAREST, _MOST = 1e-3, 1.5
"""Edges of the axes: nearer targets and larger misses are drawn there."""
_SYMBOLS = ("circle", "diamond", "triangle-up")


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = go.Figure()
    ratio = (table.wanted / table.bound).clip(lower=_NEAREST)
    x = np.geomspace(ratio.min() / 1.2, ratio.max() * 1.2, 200)
    least = np.clip(1 - 1 / x, 0, None)
    figure.add_scatter(
        x=[*x, *x[::-1]], y=[*least, *np.zeros_like(x)], fill="toself", mode="lines", line={"width": 0},
        fillcolor=fade(theme.muted, 0.16), hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=least, mode="lines", name="unreachable part", line={"color": theme.ink, "width": 2}, hoverinfo="skip"
    )
    for i, prompt in enumerate(dict.fromkeys(table.prompt)):
        part = table[table.prompt == prompt]
        figure.add_scatter(
            x=ratio[part.index], y=part.missed.clip(upper=_MOST), mode="markers", name=f"{plain(prompt)} prompts",
            marker={"color": fade(theme.colour(i), 0.6), "symbol": _SYMBOLS[i % len(_SYMBOLS)], "size": 7},
            customdata=np.stack([part["head"], part.tokens, part.target.map(plain), part.missed], axis=1),
            hovertemplate="head %{customdata[0]}, k = %{customdata[1]}, %{customdata[2]}: misses %{customdata[3]:.3f}"
            f"<extra>{plain(prompt)}</extra>",
        )  # fmt: skip
    figure.update_xaxes(type="log", title_text="‖P<sub>⊥</sub>y*‖ / bound [1]", exponentformat="power", dtick=1)
    figure.update_yaxes(title_text="share of P<sub>⊥</sub>y* missed [fraction]", rangemode="tozero")
    figure.update_layout(height=420)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per kind of prompt and target: how far it lies, what is out of reach, and what was missed."""
    rows = []
    for (prompt, target), part in table.groupby(["prompt", "target"], sort=False):
        rows.append(
            {"prompt": prompt, "target": target, "points [count]": len(part),
             "median wanted/bound": (part.wanted / part.bound).median(), "unreachable, median": part.least.median(),
             "missed, least": part.missed.min(), "missed, median": part.missed.median(),
             "nearer than the bound allows [count]": int((part.missed < part.least - 1e-9).sum())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    nearer = int((table.missed < table.least - 1e-9).sum())
    inside, outside = (table[table.least.eq(0) == wanted].groupby("prompt", sort=False) for wanted in (True, False))
    within = "; ".join(f"{prompt} prompts miss {part.missed.median():.2f}" for prompt, part in inside)
    beyond = "; ".join(
        f"{prompt} prompts {part.missed.median():.2f}, of which {part.least.median():.2f} out of reach"
        for prompt, part in outside
    )
    return (
        f"Of targets within the bound, in the median: {within or 'none'}. Of targets beyond it: {beyond or 'none'}. "
        f"{nearer} of {len(table)} prompts come nearer than the bound allows."
    )


def _example() -> pd.DataFrame:
    """Made-up searches: targets within the bound are met by free prompts, soft ones stay behind."""
    rows = []
    for head in range(4):
        for k in (1, 8):
            bound = 4.0 + head + 0.2 * k
            for prompt, extra in (("free", 0.02), ("soft", 0.3)):
                for share in (0.1, 0.5, 1.0, 2.0):
                    least = max(0.0, 1 - 1 / share)
                    missed = least + (1 - least) * extra * (1 + 0.1 * head)
                    rows.append((head, k, prompt, f"{share:g} × the bound", share * bound, bound, missed, least))
        rows.append((head, 8, "trained", "another text's output", 0.6, 6.0, 1.1, 0.0))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


REACH_TARGETS = Figure(
    name="reach_targets",
    title="Wanted outputs of a head, and what no prompt reaches",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=17,
    summary=_summary,
    describe=_describe,
    caption=(
        "Share of a wanted change of a head's output that the nearest prompt found still misses, against the length "
        "of that change relative to the bound of what prompts reach. Both are of the part orthogonal to the output "
        "without a prompt. Prompts are free at the entrance of the block, soft (they pass the embedding's LayerNorm), "
        "or trained on the task. First block, first token. Points at the edges (10⁻³, 1.5) lie beyond them."
    ),
    reading=(
        "No point may lie in the grey area: left of 1 nothing is ruled out, right of it at least 1 − bound/wanted is. "
        "Points on the line are targets that a prompt approaches as far as the bound allows; points far above it are "
        "targets that the bound does not rule out and the search did not reach. 1 is what no prompt at all misses; a "
        "prompt above 1 leads away from the target."
    ),
    source=(BHARGAVA_2023,),
    example=_example,
)
