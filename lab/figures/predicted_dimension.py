"""Predicted against measured intrinsic dimension, one panel per variant of the prediction."""

from __future__ import annotations

from math import ceil, floor, log10

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DEREZINSKI_2020, LI_2018
from lab.figures.style import Theme, plain
from lab.statistics import Interval, rank_correlation_interval

_COLUMNS = {
    "label": Column("PLM, task and method of the search", TEXT),
    "variant": Column("which curvature and displacement predict", TEXT),
    "measure": Column("what 90 % is taken of: training loss or score", TEXT),
    "predicted": Column("predicted dimension", "count"),
    "measured": Column("measured dimension; missing where the search did not find it", "count"),
    "low": Column("lower end of the measured dimension's interval", "count"),
    "high": Column("upper end of the measured dimension's interval; missing where open", "count"),
    "size": Column("d of the whole delta", "count"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    variants = list(dict.fromkeys(table.variant))
    columns = min(4, len(variants))
    rows = -(-len(variants) // columns)
    titles = [_title(variant, table[table.variant == variant]) for variant in variants]
    figure = make_subplots(
        rows, columns, subplot_titles=titles, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03,
        vertical_spacing=0.3 / rows,
    )  # fmt: skip
    figure.update_annotations(font=None)
    labels = list(dict.fromkeys(table.label))
    measures = list(dict.fromkeys(table.measure))
    found = table[table.measured.notna()]
    values = pd.concat([found.predicted, found.measured]) if len(found) else table.predicted
    low, high = floor(log10(max(1, values.min()))), ceil(log10(max(10, values.max())))
    for i, variant in enumerate(variants):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        figure.add_scatter(
            x=[10**low, 10**high], y=[10**low, 10**high], mode="lines", showlegend=False, hoverinfo="skip",
            line={"color": theme.muted, "width": 1, "dash": "dot"}, **place,
        )  # fmt: skip
        for j, measure in enumerate(measures):
            part = found[(found.variant == variant) & (found.measure == measure)]
            names = [plain(label) for label in part.label]
            figure.add_scatter(
                x=part.predicted, y=part.measured, mode="markers", name=plain(measure), legendgroup=plain(measure),
                showlegend=i == 0, text=names, hovertemplate="%{text}<br>predicted %{x}, measured %{y}",
                marker={"color": theme.colour(j), "symbol": ("circle", "diamond-open")[j % 2], "size": 8},
                error_y={
                    "type": "data", "symmetric": False, "array": (part.high - part.measured).fillna(0),
                    "arrayminus": (part.measured - part.low).fillna(0), "thickness": 1, "width": 0,
                }, **place,
            )  # fmt: skip
    if not len(found):
        figure.add_annotation(
            text=f"no search of {plain(labels[0])} found its dimension", x=0.5, y=0.5, xref="paper", yref="paper"
        )
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text="measured d₉₀ [count]", row=row, col=1)
    for i in range(len(variants)):
        if i + columns >= len(variants):
            place = {"row": i // columns + 1, "col": i % columns + 1}
            figure.update_xaxes(title_text="predicted d₉₀ [count]", showticklabels=True, **place)
    for i in range(len(variants), rows * columns):
        figure.update_xaxes(visible=False, row=i // columns + 1, col=i % columns + 1)
        figure.update_yaxes(visible=False, row=i // columns + 1, col=i % columns + 1)
    figure.update_xaxes(type="log", range=[low - 0.1, high + 0.1], dtick=1)
    figure.update_yaxes(type="log", range=[low - 0.1, high + 0.1], dtick=1)
    return figure.update_layout(height=330 if rows == 1 else 270 * rows)


def _title(variant: str, rows: pd.DataFrame) -> str:
    """The variant in two lines, with its rank correlation on the training loss."""
    name, _, rest = plain(variant).partition(" at ")
    found = _correlation(rows, str(rows.measure.iloc[0]))
    rho = "" if found is None else f"<br>ρ = {found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"
    return f"{name}<br>at {rest}{rho}" if rest else f"{name}{rho}"


def _correlation(rows: pd.DataFrame, measure: str) -> Interval | None:
    """Spearman's ρ with its interval; None where fewer than four were measured or all are alike."""
    part = rows[(rows.measure == measure) & rows.measured.notna() & rows.predicted.notna()]
    if len(part) < 4 or part.predicted.nunique() < 2 or part.measured.nunique() < 2:
        return None
    return rank_correlation_interval(part.predicted.tolist(), part.measured.tolist())


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per variant and measure: searches, Spearman's ρ and interval, median of predicted over measured."""
    rows = []
    for (variant, measure), part in table.groupby(["variant", "measure"], sort=False):
        found, known = _correlation(part, str(measure)), part[part.measured.notna()]
        ends = (np.nan,) * 3 if found is None else (found.estimate, found.low, found.high)
        rows.append(
            {"variant": variant, "90 % of": measure, "searches [count]": len(known), "ρ": ends[0], "ρ low": ends[1],
             "ρ high": ends[2], "predicted / measured, median": (known.predicted / known.measured).median()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    first = found[found["90 % of"] == found["90 % of"].iloc[0]]
    told = [
        f"{row['variant']}: "
        + ("too few searches to correlate" if row["ρ"] != row["ρ"] else f"rank correlation {row['ρ']:.2f}")
        for _, row in first.iterrows()
    ]
    return f"Predicted against measured dimension of the {first['90 % of'].iloc[0]}. " + "; ".join(told) + "."


def _example() -> pd.DataFrame:
    """Made-up searches: one variant that ranks them, one that does not."""
    rows = []
    for i in range(6):
        measured = 20.0 * 1.8**i
        for variant, predicted in (("Gauss-Newton at the start", 4 * 1.5**i), ("kernel at the start", 60 - 7 * i)):
            for measure, factor in (("training loss", 1.0), ("score", 0.6)):
                rows.append(
                    {"label": f"minilm · task {i % 3} · method {i // 3}", "variant": variant, "measure": measure,
                     "predicted": round(predicted), "measured": round(factor * measured), "size": 10_000,
                     "low": 0.7 * factor * measured, "high": 1.5 * factor * measured if i else np.nan}
                )  # fmt: skip
    return pd.DataFrame(rows)


PREDICTED_DIMENSION = Figure(
    name="predicted_dimension",
    title="Predicted and measured intrinsic dimension",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Dimension at which a random subspace recovers 90 %, measured by training in subspaces, against the one "
        "predicted from a curvature spectrum and a displacement, one panel per variant; intervals are those of the "
        "search, the dotted line is equality. ρ is Spearman's, with its 95 % interval, for the training loss."
    ),
    reading=(
        "A variant predicts if its points rise from left to right, and predicts the number itself if they lie on the "
        "dotted line. Below the line fewer dimensions were needed than predicted, above it more. The curvature of n "
        "sentences has bounded rank, so no prediction exceeds it, and a search that trains for few steps also pays "
        "for its optimiser, which no quadratic knows. Points of one PLM share their weights: the interval of ρ takes "
        "them for independent. A search that did not find its dimension is left out."
    ),
    source=(DEREZINSKI_2020, LI_2018),
    example=_example,
)
