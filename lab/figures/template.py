"""With and without a manual template, on growing amounts of data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022, DING_2023, GAO_2021
from lab.figures.style import Theme, counted, fade, plain, score_title
from lab.statistics import mean_interval
from lab.statistics.template import READINGS, gains

_COLUMNS = {
    "label": Column("PLM and task", TEXT),
    "amount": Column("how much data: zero-shot, 16 per class, …; in the order of their first rows", TEXT),
    "reading": Column("template or no template", TEXT),
    "seed": Column("seed of the run", "count"),
    "score": Column("validation score", "unit of the metric"),
}
_OPTIONAL = {"metric": Column("name of the metric that score is in", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels, amounts = list(dict.fromkeys(table.label)), list(dict.fromkeys(table.amount))
    readings = list(dict.fromkeys(table.reading))
    columns = min(2, len(labels))
    rows = -(-len(labels) // columns)
    figure = make_subplots(
        rows, columns, shared_yaxes=True, subplot_titles=[plain(label) for label in labels], horizontal_spacing=0.06,
        vertical_spacing=0.3 / rows,
    )  # fmt: skip
    figure.update_annotations(font=None)
    for place, label in enumerate(labels):
        panel = {"row": place // columns + 1, "col": place % columns + 1}
        for i, reading in enumerate(readings):
            part = table[(table.label == label) & (table.reading == reading)]
            shift = 0.16 * (i - (len(readings) - 1) / 2)
            _series(figure, part, amounts, shift, theme, i, panel)
        figure.update_xaxes(
            tickvals=list(range(len(amounts))), ticktext=[plain(amount) for amount in amounts],
            range=[-0.5, len(amounts) - 0.5], title_text="training data [amount]", **panel,
        )  # fmt: skip
        if place % columns == 0:
            figure.update_yaxes(title_text=score_title(table.metric if "metric" in table else ()), **panel)
    for i, reading in enumerate(readings):
        figure.add_scatter(
            x=[None], y=[None], name=plain(reading), mode="lines+markers", row=1, col=1,
            line={"color": theme.colour(i), "width": 2}, marker={"symbol": theme.symbol(8 * i), "size": 9},
        )  # fmt: skip
    figure.update_layout(height=340 * rows)
    return figure


def _series(
    figure: go.Figure,
    part: pd.DataFrame,
    amounts: list[str],
    shift: float,
    theme: Theme,
    i: int,
    panel: dict[str, int],
) -> None:
    """One reading: every run as a point, means with their interval joined by a line."""
    colour = theme.colour(i)
    finite = part[np.isfinite(part.score.astype(float))]
    figure.add_scatter(
        x=[amounts.index(amount) + shift for amount in finite.amount], y=finite.score, mode="markers",
        showlegend=False, marker={"color": fade(colour, 0.45), "size": 6}, customdata=finite.seed,
        hovertemplate="%{y:.4f}, seed %{customdata}<extra></extra>", **panel,
    )  # fmt: skip
    found = {amount: mean_interval(list(group.score)) for amount, group in finite.groupby("amount", sort=False)}
    x = [amounts.index(str(amount)) + shift for amount in found]
    ends = [(q.high - q.estimate, q.estimate - q.low) if np.isfinite(q.low) else (None, None) for q in found.values()]
    figure.add_scatter(
        x=x, y=[q.estimate for q in found.values()], mode="lines+markers", showlegend=False,
        line={"color": colour, "width": 2}, marker={"symbol": theme.symbol(8 * i), "size": 9},
        error_y={"symmetric": False, "array": [up for up, _ in ends], "arrayminus": [down for _, down in ends],
                 "color": colour, "thickness": 1.5, "width": 5},
        hovertemplate="mean %{y:.4f}<extra></extra>", **panel,
    )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    differences = gains(table)
    for (label, amount), part in table.groupby(["label", "amount"], sort=False):
        means = part.groupby("reading", sort=False).score.mean()
        row = {"label": label, "amount": amount, "seeds [count]": part.seed.nunique()}
        row |= {str(reading): float(score) for reading, score in means.items()}
        if values := differences.get((str(label), str(amount))):
            gain = mean_interval(values)
            row |= {"gain": gain.estimate, "low": gain.low, "high": gain.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    parts = []
    for row in _summary(table).to_dict("records"):
        scores = ", ".join(f"{plain(r)} {row[r]:.3f}" for r in dict.fromkeys(table.reading) if row.get(r) == row.get(r))
        gain = (
            f", gain {row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" if row.get("gain") is not None else ""
        )
        parts.append(f"{row['label']}, {row['amount']}: {scores}{gain} ({counted(row['seeds [count]'], 'seed')})")
    return f"Mean score: {'; '.join(parts)}."


def _example() -> pd.DataFrame:
    """Made-up scores: a large gain that shrinks."""
    means = {"zero-shot": (0.72, 0.5), "16 per class": (0.78, 0.6), "480 examples": (0.84, 0.83)}
    return pd.DataFrame(
        [
            {"label": "example", "amount": amount, "reading": reading, "seed": seed,
             "score": score + (0 if amount == "zero-shot" and reading == READINGS[0] else 0.02 * np.cos(5 * seed + i))}
            for amount, scores in means.items()
            for i, (reading, score) in enumerate(zip(READINGS, scores, strict=True))
            for seed in range(3)
        ]
    )  # fmt: skip


TEMPLATE = Figure(
    name="template",
    title="Manual templates",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Validation score with a manual template, whose label words the pre-trained language-model head predicts, and "
        "without, under a new classification head, on growing amounts of training data. Every run is a point; marks "
        "are means over seeds with the 95 % Student interval."
    ),
    reading=(
        "Left, nothing is trained: with the template the score is what the PLM knows of the task, without it a random "
        "head's guess, near chance. Where the two lines meet, the data have taught the new head what the template gave "
        "for nothing. The gains in the table are paired by seed: few-shot seeds also choose the examples, so the gain "
        "is known better than either mean."
    ),
    source=(DING_2023, DING_2022, GAO_2021),
    example=_example,
    optional=_OPTIONAL,
)
