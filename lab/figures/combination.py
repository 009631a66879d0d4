"""Prompt, BitFit and adapter in every combination: the eight cells, and what each factor does."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022, DING_2023
from lab.figures.style import Theme, counted, fade, plain, score_title
from lab.statistics.combination import CELLS, FACTORS, KINDS, contrasts, named

_COLUMNS = {
    "label": Column("PLM, task, data and reading of one design", TEXT),
    "seed": Column("seed of the run", "count"),
    **{factor: Column(f"1 where the combination has the {factor}, else 0", "count") for factor in FACTORS},
    "score": Column("validation score after training", "unit of the metric"),
}
_OPTIONAL = {"metric": Column("name of the metric that score is in", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    table = table.assign(cell=named(table))
    found = contrasts(table)
    titles = [text for label in labels for text in (plain(label), "")]
    figure = make_subplots(
        len(labels), 2, horizontal_spacing=0.24, vertical_spacing=0.28 / len(labels), subplot_titles=titles,
        column_widths=[0.48, 0.52],
    )  # fmt: skip
    figure.update_annotations(font=None, x=0, xanchor="left")
    for row, label in enumerate(labels, start=1):
        part = table[table.label == label]
        _cell_panel(figure, part, theme, row)
        _effect_panel(figure, found[found.label == label], theme, row)
        metrics = part.metric if "metric" in part else []
        figure.update_xaxes(title_text=score_title(metrics), row=row, col=1)
        figure.update_xaxes(title_text="difference of the score [points of 0.01]", row=row, col=2)
        figure.update_yaxes(categoryorder="array", categoryarray=CELLS[::-1], row=row, col=1)
        figure.update_yaxes(autorange="reversed", row=row, col=2)
    _keys(figure, found, theme)
    figure.update_layout(height=300 * len(labels))
    return figure


def _cell_panel(figure: go.Figure, part: pd.DataFrame, theme: Theme, row: int) -> None:
    """Every run as a point, the mean of a cell as a bar."""
    figure.add_scatter(
        x=part.score, y=part.cell, mode="markers", showlegend=False, customdata=part.seed,
        marker={"color": fade(theme.colour(0), 0.55), "size": 7},
        hovertemplate="%{x:.4f}, seed %{customdata}<extra>%{y}</extra>", row=row, col=1,
    )  # fmt: skip
    means = part.groupby("cell", sort=False).score.mean()
    figure.add_scatter(
        x=list(means), y=list(means.index), mode="markers", showlegend=False,
        marker={"symbol": "line-ns", "size": 15, "line": {"width": 2.5, "color": theme.ink}},
        hovertemplate="mean %{x:.4f}<extra>%{y}</extra>", row=row, col=1,
    )  # fmt: skip


def _marks(theme: Theme) -> dict[str, dict[str, Any]]:
    symbols = ("circle", "diamond", "square-open")
    return {
        kind: {"color": theme.colour(i), "symbol": symbol, "size": 8}
        for i, (kind, symbol) in enumerate(zip(KINDS, symbols, strict=True))
    }


def _effect_panel(figure: go.Figure, found: pd.DataFrame, theme: Theme, row: int) -> None:
    """Estimate and interval of each term, in hundredths, beside the line of no effect."""
    figure.add_vline(
        x=0, line={"color": theme.muted, "width": 1, "dash": "dot"}, row=row, col=2, exclude_empty_subplots=False
    )
    for kind, mark in _marks(theme).items():
        part = found[found.kind == kind]
        if not len(part):
            continue
        ends = {
            name: (100 * (part[end] - part.estimate).abs()).where(np.isfinite(part[end]))
            for name, end in (("array", "high"), ("arrayminus", "low"))
        }
        figure.add_scatter(
            x=100 * part.estimate, y=part.term, mode="markers", showlegend=False, marker=mark,
            error_x={"type": "data", "symmetric": False, "color": mark["color"], "thickness": 1.6, "width": 4, **ends},
            customdata=np.stack([100 * part.low, 100 * part.high, part.n], axis=1),
            hovertemplate="%{x:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}], %{customdata[2]} seeds"
            "<extra>%{y}</extra>", row=row, col=2,
        )  # fmt: skip


def _keys(figure: go.Figure, found: pd.DataFrame, theme: Theme) -> None:
    """Legend, on points without data."""
    figure.add_scatter(
        x=[None], y=[None], name="one run", mode="markers", row=1, col=1,
        marker={"color": fade(theme.colour(0), 0.55), "size": 7},
    )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], name="mean of the seeds", mode="markers", row=1, col=1,
        marker={"symbol": "line-ns", "size": 12, "line": {"width": 2.5, "color": theme.ink}},
    )  # fmt: skip
    for kind, mark in _marks(theme).items():
        if (found.kind == kind).any():
            figure.add_scatter(x=[None], y=[None], name=kind, mode="markers", marker=mark, row=1, col=2)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    found = contrasts(table)
    if not len(found):  # no design is complete: the means of the cells
        named_cells = table.assign(cell=named(table))
        return named_cells.groupby(["label", "cell"], sort=False).score.mean().reset_index()
    return pd.DataFrame(
        {
            "label": found.label,
            "term": found.term,
            "seeds [count]": found.n.astype(int),
            "difference [0.01]": 100 * found.estimate,
            "low [0.01]": 100 * found.low,
            "high [0.01]": 100 * found.high,
        }
    )


def _describe(table: pd.DataFrame) -> str:
    found = contrasts(table)
    sentences = []
    for label in dict.fromkeys(table.label):
        part = found[(found.label == label) & (found.kind == KINDS[1])]
        if not len(part):
            n = int((table.label == label).sum())
            sentences.append(f"{label}: {counted(n, 'run')}, no seed has all eight combinations.")
            continue
        told = [
            f"{row['term'].removesuffix(' beside another')} {100 * row['estimate']:+.1f} "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
            for row in part.to_dict("records")
        ]
        sentences.append(
            f"{label}: what each adds beside another delta, in points of 0.01, with 95 % interval over "
            f"{counted(int(part.n.max()), 'seed')}: {'; '.join(told)}."
        )
    return " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up scores: the adapter helps, the prompt hurts beside it."""
    rows = []
    for seed in range(4):
        for on in product((0, 1), repeat=len(FACTORS)):
            prompt, bitfit, adapter = on
            noise = 0.008 * np.cos(7 * seed + 3 * prompt + 5 * bitfit + 11 * adapter)
            score = 0.7 + 0.04 * bitfit + 0.09 * adapter - 0.03 * prompt * adapter - 0.02 * bitfit * adapter + noise
            rows.append(
                {"label": "example", "seed": seed, **dict(zip(FACTORS, on, strict=True)), "score": score}
            )  # fmt: skip
    return pd.DataFrame(rows)


COMBINATION = Figure(
    name="combination",
    title="Simultaneous combinations",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Left: validation score of the eight combinations of prompt, BitFit and adapter, trained at once; every run is "
        "a point, the bar is the mean. Right: effects of the 2³ design, paired by seed, with 95 % Student intervals "
        "over the seeds: of each delta over all four combinations of the others, over the three that hold another "
        "delta, and the interactions."
    ),
    reading=(
        "A delta whose interval lies right of zero helps. Its effect (circle) includes the step from no delta at all, "
        "which most deltas win; whether it helps a combination is what the diamond says. A negative interaction: "
        "together they gain less than the sum of what each gains. The empty cell trains the new head alone, or, under "
        "a template, is the untouched model; all cells treat the head alike."
    ),
    source=(DING_2023, DING_2022),
    example=_example,
    optional=_OPTIONAL,
)
