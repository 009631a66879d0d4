"""Loss and score against training steps: mean over seeds, and the range of the seeds as a band."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, counted, fade, plain, score_title

_COLUMNS = {
    "label": Column("what was trained, as the legend shall say it", TEXT),
    "seed": Column("seed of the run", "count"),
    "step": Column("optimiser steps taken", "count"),
    "seconds": Column("training time until then, evaluations excluded", "s"),
    "split": Column("train or validation", TEXT),
    "loss": Column("mean loss of the split", "nats"),
    "score": Column("metric of the split; empty where it was not evaluated", "unit of the metric"),
}
_DASHES = {"validation": "solid", "train": "dot"}
_OPTIONAL = {"metric": Column("name of the metric that score is in", TEXT)}


def curves(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Mean and range over seeds of "loss" or "score" at each step: label, split, step, mean, low, high, seeds, seconds.

    Values that are not finite (diverged, not evaluated) are left out.
    """
    finite = table[np.isfinite(table[quantity].astype(float))]
    grouped = finite.groupby(["label", "split", "step"], sort=False)
    found = grouped[quantity].agg(mean="mean", low="min", high="max", seeds="count")
    found["seconds"] = grouped["seconds"].mean()
    return found.reset_index().sort_values(["label", "split", "step"], kind="stable").reset_index(drop=True)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    figure = make_subplots(1, 2, horizontal_spacing=0.12)
    titles = {"loss": "loss [nats]", "score": score_title(table.metric if "metric" in table else [])}
    for column, (quantity, title) in enumerate(titles.items(), start=1):
        found = curves(table, quantity)
        for i, label in enumerate(labels):
            for split in _DASHES:
                part = found[(found.label == label) & (found.split == split)]
                if len(part):
                    _line(figure, part, theme, i, column)
        figure.update_xaxes(title_text="step [count]", rangemode="tozero", row=1, col=column)
        figure.update_yaxes(title_text=title, row=1, col=column)
    _keys(figure, table, theme)
    figure.update_layout(
        height=430 + 12 * len(labels),
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "xanchor": "left"},
    )
    return figure


def _line(figure: go.Figure, part: pd.DataFrame, theme: Theme, i: int, column: int) -> None:
    """One label on one split: the mean, and a band where there are several seeds."""
    label, split, colour = plain(part.label.iloc[0]), part.split.iloc[0], theme.colour(i)
    panel = {"row": 1, "col": column, "legendgroup": label}
    if (part.seeds > 1).any():
        figure.add_scatter(
            x=[*part.step, *part.step[::-1]], y=[*part.high, *part.low[::-1]], fill="toself", mode="lines",
            fillcolor=fade(colour, 0.15), line={"width": 0}, hoverinfo="skip", showlegend=False, **panel,
        )  # fmt: skip
    figure.add_scatter(
        x=part.step, y=part["mean"], name=label, showlegend=False, mode="lines+markers",
        line={"color": colour, "dash": _DASHES[split], "width": 2}, marker={"symbol": theme.symbol(i), "size": 6},
        customdata=np.stack([part.low, part.high, part.seeds, part.seconds], axis=1),
        hovertemplate="step %{x}, %{customdata[3]:.1f} s<br>%{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]"
        f"<br>%{{customdata[2]:.0f}} seeds, {split}<extra>{label}</extra>", **panel,
    )  # fmt: skip


def _keys(figure: go.Figure, table: pd.DataFrame, theme: Theme) -> None:
    """Legend: a colour per label, then one entry per kind of line."""
    for i, label in enumerate(dict.fromkeys(table.label)):
        figure.add_scatter(
            x=[None], y=[None], name=plain(label), legendgroup=plain(label), mode="lines+markers",
            line={"color": theme.colour(i), "width": 2}, marker={"symbol": theme.symbol(i), "size": 6}, row=1, col=1,
        )  # fmt: skip
    present = [split for split in _DASHES if (table.split == split).any()]
    for split in present:
        figure.add_scatter(
            x=[None], y=[None], name=split, legendgroup=split, mode="lines", row=1, col=1,
            line={"color": theme.muted, "dash": _DASHES[split], "width": 2},
        )  # fmt: skip


def _last(table: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of every label, split and seed."""
    ordered = table.sort_values("step", kind="stable")
    return ordered.groupby(["label", "split", "seed"], sort=False).tail(1)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    last = _last(table)
    grouped = last.groupby(["label", "split"], sort=False)
    found = pd.DataFrame(
        {
            "seeds [count]": grouped["seed"].nunique(),
            "steps [count]": grouped["step"].max(),
            "time [s]": grouped["seconds"].mean(),
            "loss [nats]": grouped["loss"].mean(),
            "score": grouped["score"].mean(),
            "lowest score": grouped["score"].min(),
            "highest score": grouped["score"].max(),
        }
    )
    return found.reset_index()


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    found = found[found.split == "validation"] if (found.split == "validation").any() else found
    found = found.sort_values("score", ascending=False)
    parts = [
        f"{row['label']} {row['score']:.3f} [{row['lowest score']:.3f}, {row['highest score']:.3f}] after "
        f"{row['steps [count]']} steps, {counted(row['seeds [count]'], 'seed')}"
        for row in found.to_dict("records")[:8]
    ]
    more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
    return f"Last {found['split'].iloc[0]} score, mean and range: {'; '.join(parts)}{more}."


def _example() -> pd.DataFrame:
    """Made-up exponential approaches of three methods, three seeds each."""
    rows = []
    for label, rate, best in (("full fine-tuning", 0.08, 0.93), ("LoRA r = 8", 0.05, 0.91), ("prompt", 0.015, 0.82)):
        for seed in range(3):
            for step in range(0, 101, 10):
                reached = (1 - np.exp(-rate * step)) * (1 + 0.02 * np.cos(3 * seed + step))
                for split, shift in (("validation", 0.0), ("train", 0.03)):
                    score = 0.2 + (best + shift - 0.2) * reached
                    rows.append(
                        {"label": label, "seed": seed, "step": step, "seconds": 0.4 * step, "split": split,
                         "loss": 1.6 * (1.1 - reached) - shift, "score": score}
                    )  # fmt: skip
    return pd.DataFrame(rows)


LEARNING_CURVES = Figure(
    name="learning_curves",
    title="Learning curves",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Loss (left) and score (right) on validation (solid) and training data (dotted) against optimiser steps. "
        "Lines are means over seeds, bands the range over seeds."
    ),
    reading=(
        "A curve that rises earlier converges faster; its height at the end is what the method reaches in this many "
        "steps. Where the bands of two methods overlap, these seeds do not tell them apart. A dotted line that "
        "leaves its solid one upwards (score) or downwards (loss) is the generalisation gap."
    ),
    source=(DING_2022,),
    example=_example,
    table="history",
    optional=_OPTIONAL,
)
