"""What moving one layer alone promises and gives: the layer choice of L-MSA."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import LI_2017
from lab.figures.style import Theme, plain

_COLUMNS = {
    "label": Column("the delta", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "place": Column("at which controls", TEXT),
    "stage": Column("stage of the chain", TEXT),
    "t": Column("its number", "count"),
    "predicted": Column("fall of J by the second-order formula", "nats"),
    "measured": Column("fall of J when the layer takes that step alone", "nats"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    panels = list(table.groupby(["label", "model", "task", "place"], sort=False))
    figure = make_subplots(
        1, len(panels), horizontal_spacing=0.12,
        subplot_titles=[plain(f"{names[0]}, {names[3]}") for names, _ in panels],
    )  # fmt: skip
    figure.update_annotations(font=None)
    for column, (_, part) in enumerate(panels, start=1):
        part = part.sort_values("t")
        for i, name in enumerate(("predicted", "measured")):
            figure.add_bar(
                x=[plain(stage) for stage in part.stage], y=part[name], name=name, legendgroup=name,
                showlegend=column == 1, marker={"color": theme.colour(i)}, row=1, col=column,
                hovertemplate=f"%{{x}}: %{{y:.4g}} nats<extra>{name}</extra>",
            )  # fmt: skip
        figure.update_xaxes(title_text="stage [name]", row=1, col=column)
        figure.update_yaxes(title_text="fall of J [nats]", row=1, col=column)
    figure.update_layout(height=360)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per place, the layer that promises most and the one that gives most."""
    rows = []
    for (label, model, task, place), part in table.groupby(["label", "model", "task", "place"], sort=False):
        promised, given = (part.iloc[int(part[name].to_numpy().argmax())] for name in ("predicted", "measured"))
        rows.append(
            {"label": label, "model": model, "task": task, "place": place, "promises most": promised.stage,
             "predicted [nats]": promised.predicted, "measured there [nats]": promised.measured,
             "gives most": given.stage, "measured [nats]": given.measured}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    return " ".join(
        f"{row.label} {row.place}: {row['promises most']} promises a fall of J by {row['predicted [nats]']:.3g} nats "
        f"and gives {row['measured there [nats]']:.3g}; most is given by {row['gives most']}."
        for _, row in _summary(table).iterrows()
    )


def _example() -> pd.DataFrame:
    """Made-up scores: late layers promise more, and give a little less than they promise."""
    rows = [
        ("LoRA", "minilm", "bbc-news", place, stage, t, 0.02 * (t + 1) * size, 0.018 * (t + 1) * size)
        for place, size in (("at the start", 1.0), ("at its end", 0.4))
        for t, stage in enumerate(["block 0", "block 1", "block 2", "readout"])
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


LAYER_SCORES = Figure(
    name="layer_scores",
    title="Which layer is worth moving",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=6,
    summary=_summary,
    describe=_describe,
    caption=(
        "Fall of the loss when one layer's controls alone take their own best step along the gradient of the "
        "Hamiltonian: by the second-order formula η‖g‖² − ½η²gᵀGg, and as it really happens."
    ),
    reading=(
        "A tall pair of bars is a layer worth moving first. Where the two bars differ, the step has left the region in "
        "which a quadratic describes the loss, and the promise should not be trusted. A layer's score says nothing of "
        "what it is worth once other layers have moved."
    ),
    source=(LI_2017,),
    example=_example,
)
