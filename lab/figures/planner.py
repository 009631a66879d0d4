"""Ranks planned before training against equal ranks, and what the methods' first steps promise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.definition import TEXT, Column, Figure, with_task
from lab.figures.seed_dots import half_width, seed_dots, zero_line
from lab.figures.sources import HU_2021, LI_2017
from lab.figures.style import Theme, plain
from lab.statistics import mean_interval

_COLUMNS = {
    "label": Column("the rule that shared out LoRA's ranks, or the method", TEXT),
    "kind": Column("ranks (a way of sharing out LoRA's ranks), method (another at this budget) or recommended", TEXT),
    "seed": Column("seed of the run", "count"),
    "loss": Column("validation loss after training", "nats"),
    "score": Column("validation score after training", "unit of the metric"),
    "loss_difference": Column("loss beside LoRA with equal ranks and the same seed", "nats"),
    "score_difference": Column("score beside LoRA with equal ranks and the same seed", "unit of the metric"),
    "promised": Column("fall of the loss that a method's layers promise at the start; empty for rules", "nats"),
}
_TASK = {"task": Column("the task", TEXT)}
_KINDS = {
    "ranks": "LoRA, ranks shared out by a rule",
    "method": "another method at the same budget",
    "recommended": "what the planner recommends",
}
_PANELS = {
    "loss_difference": "loss beside equal ranks [nats]",
    "score_difference": "score beside equal ranks [fraction]",
}


def _compared(table: pd.DataFrame) -> list[str]:
    """Labels but the reference, whose difference is 0 by definition; all labels where there is nothing else."""
    found = list(dict.fromkeys(table.label))
    others = [label for label in found if bool((table.loss_difference[table.label == label] != 0).any())]
    return others or found


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = table.assign(label=with_task(table, "label"))
    colours = {kind: theme.colour(i) for i, kind in enumerate(_KINDS)}
    figure = make_subplots(1, 3, horizontal_spacing=0.07, column_widths=[0.36, 0.32, 0.32])
    labels = _compared(table)
    kinds = table.drop_duplicates("label").set_index("label").kind
    for column, (quantity, title) in enumerate(_PANELS.items(), start=1):
        place = {"row": 1, "col": column}
        for label in labels:
            values = table[quantity][table.label == label].tolist()
            seed_dots(figure, values, plain(label), colours[kinds[label]], place)
        zero_line(figure, theme.muted, place)
        figure.update_xaxes(title_text=title, **place)
        order = [plain(label) for label in reversed(labels)]
        figure.update_yaxes(
            type="category", categoryorder="array", categoryarray=order, range=[-0.6, len(order) - 0.4],
            showticklabels=column == 1, **place,
        )  # fmt: skip
    _promises(figure, table, theme)
    for kind in kinds.unique():
        marker = {"color": colours[kind], "size": 8}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=_KINDS[kind], marker=marker, row=1, col=1)
    figure.update_layout(height=90 + 32 * len(labels))
    return figure


def _promises(figure: go.Figure, table: pd.DataFrame, theme: Theme) -> None:
    """Promised fall against final loss, one point per method with its interval over seeds."""
    place = {"row": 1, "col": 3}
    for label, part in table[table.promised.notna()].groupby("label", sort=False):
        found = mean_interval(part.loss.tolist())
        colour = theme.colour(0 if part.kind.iloc[0] == "ranks" else 1)
        name = plain(str(label).replace("equal ranks", "LoRA, equal ranks"))
        figure.add_scatter(
            x=[part.promised.mean()], y=[found.estimate], mode="markers+text", text=[f" {name}"],
            textposition="middle right", cliponaxis=False, showlegend=False, marker={"color": colour, "size": 8},
            error_y={"type": "data", "array": [half_width(found)], "color": colour, "thickness": 1.6, "width": 0},
            hovertemplate=f"promised %{{x:.3g}} nats, loss %{{y:.3f}}<extra>{name}</extra>", **place,
        )  # fmt: skip
    promised = table.promised.dropna()
    if len(promised):
        room = 0.45 * (promised.max() - promised.min()) or 1.0
        figure.update_xaxes(range=[promised.min() - room / 2, promised.max() + 2.4 * room], **place)
    figure.update_xaxes(title_text="fall promised at the start [nats]", **place)
    figure.update_yaxes(title_text="final loss [nats]", **place)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for label, part in table.groupby(with_task(table, "label"), sort=False):
        loss, score = (mean_interval(part[name].tolist()) for name in _PANELS)
        rows.append(
            {"label": label, "seeds [count]": part.seed.nunique(), "loss [nats]": part.loss.mean(),
             "score": part.score.mean(), "loss beside equal ranks [nats]": loss.estimate,
             "loss ± [nats]": half_width(loss) if loss.n > 1 else np.nan,
             "score beside equal ranks": score.estimate, "score ±": half_width(score) if score.n > 1 else np.nan,
             "promised fall [nats]": part.promised.mean()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found, compared = _summary(table), _compared(table.assign(label=with_task(table, "label")))
    parts = [
        f"{row['label']} {row['loss beside equal ranks [nats]']:+.3f} ± {row['loss ± [nats]']:.3f}"
        for row in found[found.label.isin(compared)].to_dict("records")
    ]
    return f"Validation loss in nats beside LoRA with equal ranks, mean and interval over seeds: {'; '.join(parts)}."


def _example() -> pd.DataFrame:
    """Made-up runs: one rule helps a little, random ranks do not."""
    rng = np.random.default_rng(0)
    rows = []
    specification = {"by kernel": ("ranks", -0.05, np.nan), "by gramian": ("ranks", 0.01, np.nan),
                     "random ranks": ("ranks", 0.04, np.nan), "equal ranks": ("ranks", 0.0, 0.08),
                     "recommended": ("recommended", -0.05, np.nan),
                     "BitFit": ("method", 0.1, 0.05), "prefix of 6": ("method", -0.08, 0.11)}  # fmt: skip
    for seed in range(3):
        for label, (kind, shift, promised) in specification.items():
            difference = 0.0 if label == "equal ranks" else shift + 0.02 * rng.standard_normal()
            rows.append(
                (label, kind, seed, 0.4 + difference, 0.9 - difference / 3, difference, -difference / 3, promised)
            )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


PLANNER = Figure(
    name="planner",
    title="Planned ranks against equal ranks",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=11,
    summary=_summary,
    describe=_describe,
    caption=(
        "Left and middle: validation loss and score after training, beside LoRA with equal ranks and the same seed, "
        "for ranks shared out by a rule before training, for other methods, and for what the planner recommends, all "
        "at one parameter budget: every seed, mean and 95 % interval. Right: final loss of each method against the "
        "fall of the loss that its layers promise at the start."
    ),
    reading=(
        "A rule helps where its interval lies left of the dashed line (loss) or right of it (score); the null is "
        "random ranks, which should lie on the line or on its wrong side. On the right, points that fall from left to "
        "right mean that the promise orders the methods. Differences hold for this budget and this many steps."
    ),
    source=(LI_2017, HU_2021),
    example=_example,
    optional=_TASK,
)
