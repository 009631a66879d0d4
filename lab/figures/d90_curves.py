"""Recovered share of the loss against the dimension of a random subspace: predicted, measured, simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DEREZINSKI_2020, LI_2018
from lab.figures.style import Theme, log_ticks, plain

_COLUMNS = {
    "label": Column("the problem: a quadratic, or PLM, task and method", TEXT),
    "kind": Column("predicted, measured (training runs) or simulated", TEXT),
    "variant": Column("which prediction, or what was run", TEXT),
    "d": Column("dimension of the random subspace", "count"),
    "share": Column("share of the loss's fall that it recovers", "1"),
}
_OPTIONAL = {
    "low": Column("lower end of the share's interval", "1"),
    "high": Column("upper end of the share's interval", "1"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[_wrapped(label) for label in labels], shared_yaxes="all",
        horizontal_spacing=0.03, vertical_spacing=0.42 / rows,
    )  # fmt: skip
    figure.update_annotations(font=None)
    curves = list(dict.fromkeys(table[table.kind == "predicted"].variant))
    colours = {variant: theme.colour(i) for i, variant in enumerate(curves)}
    named: set[str] = set()
    for i, label in enumerate(labels):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        part = table[table.label == label]
        for (kind, variant), points in part.groupby(["kind", "variant"], sort=False):
            points = points.sort_values("d")
            shared = {
                "name": plain(variant),
                "legendgroup": plain(variant),
                "showlegend": variant not in named,
                **place,
            }
            named.add(str(variant))
            if kind == "predicted":
                line = {"color": colours[variant], "width": 2}
                figure.add_scatter(x=points.d, y=points.share, mode="lines", line=line, **shared)
            else:
                figure.add_scatter(
                    x=points.d, y=points.share, mode="markers", marker={"color": theme.ink, "size": 6},
                    error_y=_bars(points, theme), hovertemplate="d = %{x}: %{y:.3f}", **shared,
                )  # fmt: skip
        figure.add_hline(y=0.9, line={"color": theme.muted, "width": 1, "dash": "dot"}, **place)
        last = max(2.0, float(part.d.max()))
        figure.update_xaxes(
            type="log", tickvals=log_ticks(1, last), range=[-0.05, np.log10(last) + 0.05],
            title_text="dimension d [count]", **place,
        )  # fmt: skip
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text="recovered share [1]", row=row, col=1)
    for i in range(len(labels), rows * columns):
        figure.update_xaxes(visible=False, row=i // columns + 1, col=i % columns + 1)
        figure.update_yaxes(visible=False, row=i // columns + 1, col=i % columns + 1)
    figure.update_yaxes(range=[min(-0.05, max(-0.6, float(table.share.min()) - 0.05)), 1.15])
    return figure.update_layout(height=340 if rows == 1 else 290 * rows)


def _wrapped(label: str) -> str:
    """PLM and task above the method."""
    head, _, tail = plain(label).rpartition(" · ")
    return f"{head}<br>{tail}" if head else tail


def _bars(points: pd.DataFrame, theme: Theme) -> dict[str, object] | None:
    if "low" not in points or points.low.isna().all():
        return None
    reach = {"array": points.high - points.share, "arrayminus": points.share - points.low}
    return {"type": "data", "symmetric": False, "thickness": 1, "width": 0, "color": theme.ink, **reach}


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per problem and curve: the smallest tabulated dimension whose mean share reaches 0.9."""
    rows = []
    for (label, kind, variant), part in table.groupby(["label", "kind", "variant"], sort=False):
        means = part.groupby("d").share.mean()
        reached = means.index[means >= 0.9 - 1e-9]
        rows.append(
            {"label": label, "kind": kind, "variant": variant, "points [count]": len(part),
             "first d at 90 %": float(reached.min()) if len(reached) else np.nan}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    told = [
        f"{row['label']}, {row['variant']}: "
        + ("never" if row["first d at 90 %"] != row["first d at 90 %"] else f"at d = {row['first d at 90 %']:.0f}")
        for _, row in found.iterrows()
    ]
    return "Where a random subspace recovers 90 % of the loss. " + "; ".join(told) + "."


def _example() -> pd.DataFrame:
    """Made-up curves of two problems."""
    d = np.array([1, 2, 4, 8, 16, 32, 64])
    rows = []
    for label, scale in (("λ = 1/i", 20.0), ("minilm · bbc-news · LoRA", 6.0)):
        share = d / (d + scale)
        rows.append(
            pd.DataFrame({"label": label, "kind": "predicted", "variant": "closed form", "d": d, "share": share})
        )
        seen = pd.DataFrame(
            {"label": label, "kind": "simulated", "variant": "random subspaces", "d": d, "share": share}
        )
        rows.append(seen.assign(low=share - 0.04, high=share + 0.04))
    return pd.concat(rows, ignore_index=True)


D90_CURVES = Figure(
    name="d90_curves",
    title="What a random subspace recovers",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Share of the loss's fall that a random subspace of dimension d recovers: lines are predictions from a "
        "curvature spectrum, points are training runs, or simulations with the interval of their mean; the dotted line "
        "is 90 %."
    ),
    reading=(
        "d₉₀ is where a curve crosses the dotted line. A curve that rises early belongs to a spectrum with few stiff "
        "directions; for equal eigenvalues it is the diagonal d/D (a hockey stick on this axis). Points on their line "
        "say that the loss behaves like the quadratic the line assumes. Training runs can lie below it because they "
        "stop early, and above 1 where a subspace ends lower than the whole delta."
    ),
    source=(DEREZINSKI_2020, LI_2018),
    example=_example,
)
