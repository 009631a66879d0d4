"""Does a controllability score rank the methods as training does?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import by_task
from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import SYMBOLS, Theme, plain, score_title
from lab.statistics import rank_correlation_interval

_COLUMNS = {
    "label": Column("the method", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task", TEXT),
    "score": Column("validation score after training", "unit of the metric"),
    "metric": Column("name of the metric", TEXT),
    "trace": Column("trace of the Gramian at the logits before training", "squared logits per unit of control"),
    "effective_rank": Column("effective rank of ∂logits/∂φ before training", "1"),
    "unit_norm": Column("‖δφ‖ that raises every margin by one logit", "units of φ"),
}
_AXES = {
    "trace": "tr W at the logits [logits² / unit²]",
    "effective_rank": "effective rank [1]",
    "cheapness": "1 / ‖δφ‖ of one logit [1 / unit]",
}


def _prepared(table: pd.DataFrame) -> pd.DataFrame:
    """One row per PLM, task and method: the mean over its seeds, which are no new pairs for a rank correlation."""
    measured = table.assign(cheapness=1 / table.unit_norm.where(table.unit_norm > 0))
    return measured.groupby(["label", "model", "task", "metric"], sort=False, as_index=False).mean(numeric_only=True)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    found = _prepared(table)
    figure = make_subplots(1, len(_AXES), shared_yaxes=True, horizontal_spacing=0.04)
    parts, labels = by_task(found), list(dict.fromkeys(found.label))
    for column, (name, title) in enumerate(_AXES.items(), start=1):
        for part in parts.values():
            part = part.sort_values(name)
            figure.add_scatter(
                x=part[name], y=part.score, mode="lines", line={"color": theme.grid, "width": 1.5}, showlegend=False,
                hoverinfo="skip", row=1, col=column,
            )  # fmt: skip
        for i, label in enumerate(labels):
            for j, (task, part) in enumerate(parts.items()):
                own = part[part.label == label]
                if len(own):
                    figure.add_scatter(
                        x=own[name], y=own.score, mode="markers", showlegend=False, row=1, col=column,
                        marker=_marker(theme, i, j),
                        hovertemplate=f"%{{x:.3g}}: %{{y:.3f}}<extra>{plain(label)}, {plain(task)}</extra>",
                    )  # fmt: skip
        figure.update_xaxes(title_text=title, type="linear" if name == "effective_rank" else "log", row=1, col=column)
        if name != "effective_rank":
            decades = np.log10(found[name].max() / found[name].min())
            figure.update_xaxes(exponentformat="power", dtick=2 if decades > 4 else 1, tickangle=0, row=1, col=column)
    figure.update_yaxes(title_text=score_title(found.metric), row=1, col=1)
    for i, label in enumerate(labels):
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=plain(label), marker=_marker(theme, i, 0), row=1, col=1
        )
    for j, task in enumerate(parts):
        marker = {"color": theme.ink, "symbol": SYMBOLS[j % len(SYMBOLS)], "size": 10}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=plain(task), marker=marker, row=1, col=1)
    figure.update_layout(height=400)
    return figure


def _marker(theme: Theme, i: int, j: int) -> dict[str, Any]:
    """Colour of the method, open once the palette's colours are used up; symbol of the PLM and task."""
    shape = SYMBOLS[j % len(SYMBOLS)] + ("-open" if i >= len(theme.palette) else "")
    return {"color": theme.colour(i), "symbol": shape, "size": 10, "line": {"width": 2 * (i >= len(theme.palette))}}


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's ρ of each candidate with the score, ranked within each PLM and task, with its 95 % interval."""
    found = _prepared(table)
    groups = found.groupby(["model", "task"])
    rows = []
    for name, title in _AXES.items():
        x, y = (groups[column].rank() for column in (name, "score"))
        both = x.notna() & y.notna()
        rho = rank_correlation_interval(x[both].tolist(), y[both].tolist())
        rows.append(
            {"candidate": title, "Spearman's ρ": rho.estimate, "low": rho.low, "high": rho.high, "pairs [count]": rho.n}
        )
    return pd.DataFrame(rows).head(max(1, len(table)))


def _describe(table: pd.DataFrame) -> str:
    return (
        "Rank correlation with the trained score: "
        + "; ".join(
            f"{row.candidate.split(' [')[0]} {row.iloc[1]:.2f} [{row.low:.2f}, {row.high:.2f}]"
            for _, row in _summary(table).iterrows()
        )
        + "."
    )


def _example() -> pd.DataFrame:
    """Made-up methods on two tasks: a larger trace goes with a better score, roughly."""
    rows = []
    for j, task in enumerate(("bbc-news", "rotten-tomatoes")):
        for i, label in enumerate(("full fine-tuning", "LoRA", "adapter", "prefix", "prompt")):
            rows.append((label, "minilm", task, 0.9 - 0.05 * i - 0.1 * j + 0.03 * (i % 2), "accuracy",
                         100.0 * 0.3**i, 12.0 - i + 2 * (i % 2), 0.01 * 2**i))  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


CONTROLLABILITY_RANKING = Figure(
    name="controllability_ranking",
    title="Does controllability rank the methods?",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=10,
    summary=_summary,
    describe=_describe,
    caption=(
        "Validation score after training against three candidates for a controllability score, all known before "
        "training: trace and effective rank of the Gramian at the logits, and one over the norm of the least control "
        "that raises every margin by one logit. One point per method and task; lines join the points of a PLM and task."
    ),
    reading=(
        "If controllability explained which method trains best, points of one PLM and task (one symbol) would rise "
        "from left to right. The table gives the rank correlation within tasks, with its interval: one that holds zero "
        "means that these runs cannot tell. Traces and norms are in each method's own coordinates."
    ),
    source=(DING_2022,),
    example=_example,
)
