"""The loss along lines through φ."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import GOODFELLOW_2015
from lab.figures.style import Theme, log_ticks, plain

_COLUMNS = {
    "label": Column("method or methods", TEXT),
    "line": Column("what the line joins, or which direction it follows", TEXT),
    "alpha": Column("place on the line: 0 and 1 are its two points", "1"),
    "loss": Column("loss of the batch there", "nats"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    figure = make_subplots(1, len(labels), subplot_titles=[_short(x) for x in labels], shared_yaxes=True,
                           horizontal_spacing=0.04)  # fmt: skip
    figure.update_annotations(font=None)
    lines = list(dict.fromkeys(table.line))
    named: set[str] = set()
    for i, label in enumerate(labels):
        part = table[table.label == label]
        for line, points in part.groupby("line", sort=False):
            j = lines.index(line)
            points = points.sort_values("alpha")
            figure.add_scatter(
                x=points.alpha, y=points.loss.where(points.loss > 0), mode="lines", name=plain(line),
                legendgroup=plain(line), showlegend=line not in named, hovertemplate="α = %{x:.2f}: %{y:.3g} nats",
                line={"color": theme.colour(j), "width": 2, "dash": ("solid", "dash", "dot", "dashdot")[j % 4]},
                row=1, col=i + 1,
            )  # fmt: skip
            named.add(str(line))
        for end in (0, 1):
            figure.add_vline(x=end, line={"color": theme.muted, "width": 1, "dash": "dot"}, row=1, col=i + 1)
        figure.update_xaxes(title_text="α [length of the line]", row=1, col=i + 1)
    positive = table.loc[table.loss > 0, "loss"]
    ticks = log_ticks(float(positive.min()), float(positive.max())) if len(positive) else None
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks or ()])
    figure.update_yaxes(title_text="loss [nats]", row=1, col=1)
    return figure.update_layout(height=340)


def _short(label: str) -> str:
    return "<br>".join(plain(label).rsplit(", ", 1)) if len(label) > 24 else plain(label)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per line: loss at 0 and at 1 (the nearest tabulated places), and the highest in between."""
    rows = []
    for (label, line), part in table.groupby(["label", "line"], sort=False):
        at = {end: float(part.loss.iloc[int(np.argmin(np.abs(part.alpha - end)))]) for end in (0, 1)}
        between = part[(part.alpha >= 0) & (part.alpha <= 1)] if ((part.alpha >= 0) & (part.alpha <= 1)).any() else part
        rows.append(
            {"label": label, "line": line, "loss at 0 [nats]": at[0], "loss at 1 [nats]": at[1],
             "barrier [nats]": float(between.loss.max()) - max(at.values())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    return " ".join(
        f"{row['label']}, {row['line']}: {row['loss at 0 [nats]']:.3g} nats at 0, {row['loss at 1 [nats]']:.3g} at 1, "
        f"barrier {row['barrier [nats]']:.3g}."
        for _, row in _summary(table).iterrows()
    )


def _example() -> pd.DataFrame:
    """Made-up lines: a descent, and a barrier between two solutions."""
    alphas = [i / 10 for i in range(-2, 13)]
    rows = [("LoRA r = 8", "start to solution", a, 0.1 + 1.4 * (1 - a) ** 2) for a in alphas]
    rows += [("LoRA, BitFit", "LoRA to BitFit", a, 0.1 + 2 * max(0.0, a * (1 - a)) ** 2) for a in alphas]
    return pd.DataFrame(rows, columns=["label", "line", "alpha", "loss"])


LOSS_LINE = Figure(
    name="loss_line",
    title="The loss along lines through φ",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Loss of one fixed batch along straight lines through each delta's vector: from the start to the solution, "
        "from one method's solution to another's, and along single directions; the dotted verticals are the line's two "
        "points, the height is logarithmic."
    ),
    reading=(
        "A fall without a hump from 0 to 1 says that gradient descent could have gone straight. A hump between two "
        "solutions is a barrier: they lie in different basins, or at least the straight way leaves the basin. A line "
        "is one direction of very many; flatness along it says nothing of the others."
    ),
    source=(GOODFELLOW_2015,),
    example=_example,
)
