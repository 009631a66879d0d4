"""What the least control does when it is applied, against what first order promised, and against training."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import by_task, log_axis, places
from lab.figures.definition import TEXT, Column, Figure
from lab.figures.gramian_spectra import SEED
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, fade, plain

_COLUMNS = {
    "label": Column("the method", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "request": Column("wanted rise of every sentence's margin", "logits"),
    "norm": Column("‖δφ‖ of the least control for it, to first order", "units of φ"),
    "predicted": Column("mean rise to first order; below the request where it cannot be reached", "logits"),
    "achieved": Column("mean rise when that control is applied", "logits"),
    "lowest": Column("smallest rise among the sentences", "logits"),
    "highest": Column("largest rise among the sentences", "logits"),
    "training_norm": Column("‖φ − φ₀‖ after training", "units of φ"),
    "training_change": Column("mean rise of the margins by training", "logits"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    tasks = by_task(table)
    figure = make_subplots(
        len(tasks), 2, horizontal_spacing=0.12, vertical_spacing=0.3 / len(tasks),
        subplot_titles=[plain(f"{task}, {what}") for task in tasks for what in ("promised and achieved", "price")],
    )  # fmt: skip
    figure.update_annotations(font=None)
    labels = list(dict.fromkeys(table.label))
    for row, part in enumerate(tasks.values(), start=1):
        wanted = sorted(part.request.unique())
        figure.add_scatter(
            x=wanted, y=wanted, mode="lines", line={"color": theme.muted, "dash": "dot", "width": 1.5},
            name="as promised", legendgroup="promise", showlegend=row == 1, hoverinfo="skip", row=row, col=1,
        )  # fmt: skip
        for i, label in enumerate(labels):
            for _, run in part[part.label == label].groupby(["model", *(name for name in SEED if name in part)]):
                _run(figure, run.sort_values("request"), theme, i, row)
        norms = pd.concat([part.norm, part.training_norm])
        figure.update_xaxes(type="log", title_text="wanted rise [logits]", **log_axis(part.request), row=row, col=1)
        figure.update_xaxes(type="log", title_text="‖δφ‖ [units of φ]", **log_axis(norms), row=row, col=2)
        for column in (1, 2):
            figure.update_yaxes(title_text="rise that happens [logits]", row=row, col=column)
    marker = {"symbol": "star", "size": 11, "color": theme.ink}
    figure.add_scatter(x=[None], y=[None], mode="markers", name="training", marker=marker, row=1, col=1)
    figure.update_layout(height=400 if len(tasks) == 1 else 320 * len(tasks))
    return figure


def _run(figure: go.Figure, run: pd.DataFrame, theme: Theme, i: int, row: int) -> None:
    name, colour = plain(run.label.iloc[0]), theme.colour(i)
    figure.add_scatter(
        x=[*run.request, *run.request[::-1]], y=[*run.highest, *run.lowest[::-1]], fill="toself", mode="lines",
        fillcolor=fade(colour, 0.12), line={"width": 0}, hoverinfo="skip", showlegend=False, row=row, col=1,
    )  # fmt: skip
    for column, x in ((1, run.request), (2, run.norm)):
        figure.add_scatter(
            x=x, y=run.achieved, mode="lines+markers", name=name, legendgroup=name, showlegend=row == 1 and column == 1,
            line={"color": colour, "width": 2}, marker={"symbol": theme.symbol(i), "size": 6}, row=row, col=column,
            hovertemplate=f"%{{x:.3g}}: %{{y:.3g}} logits<extra>{name}</extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=run.training_norm.iloc[:1], y=run.training_change.iloc[:1], mode="markers", showlegend=False, row=row, col=2,
        marker={"symbol": "star", "size": 12, "color": colour, "line": {"color": theme.ink, "width": 1}},
        hovertemplate=f"training: ‖δφ‖ = %{{x:.3g}}, %{{y:.3g}} logits<extra>{name}</extra>",
    )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method: the price of one logit, how much of it arrives, up to where at least half arrives; and the norm of
    training over the first-order price of what training achieved."""
    rows = []
    several = ["seed"] if "seed" in table and table.seed.nunique() > 1 else []
    for (label, model, task, *seed), run in table.groupby(["label", "model", "task", *several], sort=False):
        one = run.iloc[int((run.request - 1).abs().to_numpy().argmin())]
        holds = run[run.achieved >= 0.5 * run.request]
        slope = float(one.norm / one.predicted) if one.predicted > 0 else float("nan")
        change, norm = float(run.training_change.iloc[0]), float(run.training_norm.iloc[0])
        rows.append(
            {"method": label, "model": model, "task": task, **dict(zip(several, seed, strict=True)),
             "‖δφ‖ per logit": slope,
             f"achieved of {one.request:g} [logits]": float(one.achieved),
             "half arrives up to [logits]": float(holds.request.max()) if len(holds) else 0.0,
             "training: rise [logits]": change, "training: ‖δφ‖": norm,
             "training over least": norm / (slope * change) if change > 0 and slope > 0 else float("nan")}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    found = found.assign(place=places(found))
    achieved = next(column for column in map(str, found.columns) if column.startswith("achieved"))
    return "The least control that raises every margin, applied. " + " ".join(
        f"{row.method} on {row.place}: one logit costs ‖δφ‖ = {row['‖δφ‖ per logit']:.3g} and {row[achieved]:.2f} "
        f"arrives; training moved {row['training: rise [logits]']:.2f} logits with ‖δφ‖ = {row['training: ‖δφ‖']:.3g}."
        for _, row in found.iterrows()
    )


def _example() -> pd.DataFrame:
    """Made-up curves: first order holds for small requests and saturates for large ones."""
    rows = []
    for label, price, limit in (("LoRA", 0.2, 4.0), ("prompt", 1.5, 1.5)):
        for request in (0.1, 0.3, 1.0, 3.0, 10.0):
            achieved = limit * request / (limit + request)
            rows.append((label, "minilm", "bbc-news", request, price * request, request, achieved, 0.7 * achieved,
                         1.2 * achieved, 9 * price, limit / 2))  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


CONTROL_ENERGY = Figure(
    name="control_energy",
    title="Least energy against achieved change",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=9,
    summary=_summary,
    describe=_describe,
    caption=(
        "The smallest change of φ that raises every sentence's margin by a given amount to first order, applied to the "
        "network: rise that was wanted against rise that happens (left; band: smallest and largest among the "
        "sentences), and rise against the norm of the control (right), with training's norm and rise as a star."
    ),
    reading=(
        "On the dotted line first order tells the truth; where a curve bends away, the network has left the region "
        "in which its linearisation holds. A star to the right of its curve means that training used more norm than "
        "the least control needs for the same rise on these sentences; it also had to serve all others. Norms are in "
        "each method's own coordinates."
    ),
    source=(DING_2022,),
    example=_example,
    optional=SEED,
)
