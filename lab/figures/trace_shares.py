"""Which layers the controllability of the end state comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import by_task, places, short
from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, plain

_COLUMNS = {
    "label": Column("the method", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "kind": Column("at the start or after training", TEXT),
    "stage": Column("stage of the chain", TEXT),
    "t": Column("its number", "count"),
    "share": Column("share of the Gramian's trace", "1"),
    "trace": Column("‖Φ_t B_t‖_F², the stage's part of the trace", "squared units of state per unit of control"),
    "error": Column("standard error of that trace; 0: exact", "squared units of state per unit of control"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    panels = {
        f"{task}, {kind}": part[part.kind == kind]
        for task, part in by_task(table).items()
        for kind in dict.fromkeys(part.kind)
    }
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = make_subplots(
        rows, columns, shared_yaxes=True, horizontal_spacing=0.04, vertical_spacing=0.32 / rows,
        subplot_titles=[plain(name) for name in panels],
    )  # fmt: skip
    figure.update_annotations(font=None)
    labels = list(dict.fromkeys(table.label))
    for n, part in enumerate(panels.values()):
        place = {"row": n // columns + 1, "col": n % columns + 1}
        stages = _stages(part)
        for i, label in enumerate(labels):
            run = part[part.label == label].groupby("stage")[["share", "trace", "error"]].mean().reindex(stages)
            errors = (run.share * run.error / run.trace.where(run.trace > 0)).fillna(0.0)
            figure.add_scatter(
                x=[plain(short(stage)) for stage in stages], y=run.share, mode="lines+markers", name=plain(label),
                legendgroup=plain(label), showlegend=n == 0, line={"color": theme.colour(i), "width": 1.8},
                marker={"symbol": theme.symbol(i), "size": 6},
                error_y={"array": 1.96 * errors, "thickness": 1, "width": 2},
                hovertemplate=f"%{{x}}: %{{y:.1%}}<extra>{plain(label)}</extra>", **place,
            )  # fmt: skip
        figure.update_xaxes(title_text="stage [block number]", type="category", tickangle=0, **place)
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text="share of tr W [1]", rangemode="tozero", row=row, col=1)
    figure.update_layout(height=360 if rows == 1 else 290 * rows)
    return figure


def _stages(table: pd.DataFrame) -> list[str]:
    """Stages that come before the end state: embed, then the blocks."""
    moving = table[table.share > 0]
    blocks = sorted({s for s in moving.stage if s.startswith("block")}, key=lambda s: int(s.split()[-1]))
    others = [s for s in dict.fromkeys(moving.sort_values("t").stage) if s not in blocks]
    return [*others, *blocks] if len(moving) else list(dict.fromkeys(table.stage))


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method: the stage with the largest share, and the mean depth Σ share · t of where control comes from."""
    rows = []
    for (label, model, task, kind), runs in table.groupby(["label", "model", "task", "kind"], sort=False):
        part = runs.groupby("stage", sort=False, as_index=False)[["t", "share", "trace"]].mean()  # over seeds
        largest = part.iloc[int(part.share.to_numpy().argmax())]
        rows.append(
            {"method": label, "model": model, "task": task, "when": kind, "largest at": largest.stage,
             "its share": largest.share, "mean stage": float(np.sum(part.share * part.t)),
             "tr W": float(part.trace.sum())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    return (
        "Where control of the end state comes from: "
        + "; ".join(
            f"{row.method} on {row.place} {row.when}, most from {row['largest at']} ({row['its share']:.0%})"
            for _, row in found.assign(place=places(found)).iterrows()
        )
        + "."
    )


def _example() -> pd.DataFrame:
    """Made-up shares: LoRA in all blocks, a prompt before them."""
    rows = []
    for kind in ("at the start", "after training"):
        for t, stage in enumerate(("embed", "block 0", "block 1", "block 2")):
            share = (0.0, 0.5, 0.3, 0.2)[t]
            rows.append(("LoRA", "minilm", "bbc-news", kind, stage, t, share, 10 * share, 0.4 * share))
            rows.append(("prompt", "minilm", "bbc-news", kind, stage, t, float(t == 0), 5.0 * (t == 0), 0.2 * (t == 0)))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


TRACE_SHARES = Figure(
    name="trace_shares",
    title="Which layers control the end state",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=8,
    summary=_summary,
    describe=_describe,
    caption=(
        "Share of each stage in the trace of the controllability Gramian of the state after the last block, "
        "‖Φ_t B_t‖² over its sum, per method, before and after training. Bars: 95 % of the estimate by random signs."
    ),
    reading=(
        "A high point is a layer whose controls move the end state much, per unit of control and averaged over all "
        "directions. A flat line is what equal layers would give. The trace does not know the task: directions that "
        "do not matter to the loss count as much as those that do."
    ),
    source=(DING_2022,),
    example=_example,
)
