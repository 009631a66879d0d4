"""What an update's directions carry in W₀: ‖UᵀW₀V‖_F onto ΔW's, W₀'s own and random directions, block by block."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure, with_model
from lab.figures.sources import HU_2021
from lab.figures.style import Theme, log_ticks, plain

_COLUMNS = {
    "label": Column("which update", TEXT),
    "role": Column("role of the matrix", TEXT),
    "block": Column("depth, from 0", "count"),
    "rank": Column("r: how many leading directions are taken", "count"),
    "delta_norm": Column("‖ΔW‖_F", "1"),
    "base_norm": Column("‖W₀‖_F", "1"),
    "onto_delta": Column("‖UᵀW₀V‖_F for the first r singular vectors of ΔW", "1"),
    "onto_base": Column("the same for those of W₀: √(σ₁² + … + σ_r²)", "1"),
    "onto_random": Column("its root mean square for random directions, ‖W₀‖_F·r/√(mn)", "1"),
    "factor": Column("‖ΔW‖_F/‖UᵀW₀V‖_F for U, V of ΔW", "1"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = table.assign(panel=with_model(table, "role"))
    panels, ranks = list(dict.fromkeys(table["panel"])), sorted(table["rank"].unique())
    labels = list(dict.fromkeys(table["label"]))
    figure = make_subplots(
        len(panels), len(ranks), shared_xaxes=True, shared_yaxes="rows", horizontal_spacing=0.03,
        vertical_spacing=0.24 / max(len(panels), 2),
        subplot_titles=[plain(f"{panel} · r = {rank:g}") for panel in panels for rank in ranks],
    )  # fmt: skip
    figure.update_annotations(font=None)
    shown: set[str] = set()

    def name(text: str) -> dict[str, object]:
        first = text not in shown
        shown.add(text)
        return {"name": plain(text), "legendgroup": plain(text), "showlegend": first}

    for r, panel in enumerate(panels, start=1):
        for c, rank in enumerate(ranks, start=1):
            part = table[(table["panel"] == panel) & (table["rank"] == rank)]
            level = part.drop_duplicates("block").sort_values("block")
            for column, text, dash in (
                ("onto_base", "W₀'s own directions", "solid"),
                ("onto_random", "random directions", "dot"),
            ):
                figure.add_scatter(
                    x=level["block"], y=level[column], mode="lines", row=r, col=c,
                    line={"color": theme.muted, "dash": dash, "width": 1.5}, **name(text),
                )  # fmt: skip
            for i, label in enumerate(labels):
                own = part[part["label"] == label].sort_values("block")
                if len(own):
                    marker = {"color": theme.colour(i), "symbol": theme.symbol(i), "size": 7}
                    figure.add_scatter(
                        x=own["block"], y=own["onto_delta"], mode="markers", marker=marker, customdata=own["factor"],
                        hovertemplate="block %{x}: %{y:.3g}<br>amplification %{customdata:.3g}", row=r, col=c,
                        **name(label),
                    )  # fmt: skip
    levels = table[["onto_delta", "onto_base", "onto_random"]].to_numpy(float)
    positive = levels[levels > 0]
    ticks = log_ticks(float(positive.min()), float(positive.max())) if len(positive) else [1.0]
    figure.update_yaxes(type="log", tickvals=ticks)
    figure.update_xaxes(showticklabels=True)
    for c in range(1, len(ranks) + 1):
        figure.update_xaxes(title_text="block [index]", row=len(panels), col=c)
    for r in range(1, len(panels) + 1):
        figure.update_yaxes(title_text="‖UᵀW₀V‖<sub>F</sub> [1]", row=r, col=1)
    figure.update_layout(height=max(330, 230 * len(panels)))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """In the form of Hu et al.'s Table 7: means over matrices per update and rank."""
    table = table if "model" in table else table.assign(model="")
    keys = ["model", "label", "rank"]
    columns = {
        "delta_norm": "‖ΔW‖", "base_norm": "‖W₀‖", "onto_delta": "onto ΔW's", "onto_base": "onto W₀'s",
        "onto_random": "onto random",
    }  # fmt: skip
    grouped = table.groupby(keys, sort=False)
    found = grouped[list(columns)].mean().rename(columns=columns)
    found["amplification, median"] = grouped["factor"].median()
    found = found.reset_index().rename(columns={"label": "update", "rank": "r [count]"})
    return found if found["model"].any() else found.drop(columns="model")


def _describe(table: pd.DataFrame) -> str:
    least = table[table["rank"] == table["rank"].min()]
    parts = [
        f"{label}: {(part['onto_delta'] / part['onto_base']).mean():.2f} of what W₀'s own directions carry, "
        f"{(part['onto_delta'] / part['onto_random']).mean():.1f} times the random level"
        for label, part in least.groupby("label", sort=False)
    ]
    return f"W₀ along the first {least['rank'].iloc[0]:g} directions of each update, means. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up projections: the update's directions between W₀'s own and random ones."""
    rows = [
        {"label": label, "role": role, "block": block, "rank": rank, "delta_norm": norm, "base_norm": 20.0,
         "onto_delta": onto * np.sqrt(rank) * (1 + 0.1 * block), "onto_base": 5.0 * np.sqrt(rank),
         "onto_random": 20.0 * rank / 384, "factor": norm / (onto * np.sqrt(rank) * (1 + 0.1 * block))}
        for label, norm, onto in (("LoRA r = 8", 2.0, 0.3), ("full fine-tuning", 0.3, 0.6))
        for role in ("query", "value")
        for block in range(4)
        for rank in (4, 64)
    ]  # fmt: skip
    return pd.DataFrame(rows)


AMPLIFICATION = Figure(
    name="amplification",
    title="What updates amplify",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Norm of W₀ projected onto the first r singular directions of each update (points), onto W₀'s own (line) and "
        "onto random directions (dotted), block by block; the table is of the form of Hu et al.'s Table 7, with its "
        "random column."
    ),
    reading=(
        "Points near the dotted line: the update's directions are as good as random to W₀, it adds something new. "
        "Points near the upper line: it strengthens what W₀ already emphasises. In between, above the dotted line, it "
        "picks up directions that W₀ has but does not emphasise. The amplification factor ‖ΔW‖/‖UᵀW₀V‖ grows with the "
        "length of training and the step size; the position between the lines hardly does, so compare that."
    ),
    source=(HU_2021,),
    example=_example,
)
