"""Share of matrices with an intruder along a training run, seen and forecast, at several step sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.intruders import named
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme, fade, plain

_COLUMNS = {
    "label": Column("which method", TEXT),
    "step_size": Column("η of the run", "1"),
    "step": Column("training steps taken", "steps"),
    "with_intruder": Column("share of matrices with an intruder in W₀ + ΔW", "fraction"),
    "forecast": Column("share whose ‖ΔW‖₂ has met the spiked model's threshold", "fraction"),
    "low": Column("share whose norm makes nine of ten directions intrude", "fraction"),
    "high": Column("share whose norm makes one of ten directions intrude", "fraction"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = named(table)
    runs = list(dict.fromkeys(table["row"]))
    columns = min(2, len(runs))
    rows = -(-len(runs) // columns)
    figure = make_subplots(
        rows, columns, shared_yaxes="all", horizontal_spacing=0.06, vertical_spacing=0.32 / max(rows, 2),
        subplot_titles=[plain(run) for run in runs],
    )  # fmt: skip
    figure.update_annotations(font=None)
    sizes = sorted(table["step_size"].unique())
    colours = dict(zip(sizes, theme.depths(len(sizes)), strict=True))
    shown: set[float] = set()
    for i, run in enumerate(runs):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for size, part in table[table["row"] == run].groupby("step_size"):
            part, colour, name = part.sort_values("step"), colours[size], f"η = {size:g}"
            figure.add_scatter(
                x=[*part["step"], *part["step"][::-1]], y=[*part["high"], *part["low"][::-1]], mode="lines",
                line={"width": 0}, fill="toself", fillcolor=fade(colour, 0.13), hoverinfo="skip", showlegend=False,
                legendgroup=name, **place,
            )  # fmt: skip
            figure.add_scatter(
                x=part["step"], y=part["forecast"], mode="lines", line={"color": colour, "dash": "dash", "width": 1.4},
                showlegend=False, legendgroup=name, name=f"{name}, forecast", **place,
            )  # fmt: skip
            figure.add_scatter(
                x=part["step"], y=part["with_intruder"], mode="lines+markers", line={"color": colour, "width": 1.8},
                marker={"size": 5}, name=name, legendgroup=name, showlegend=size not in shown,
                legendrank=1 + sizes.index(size), **place,
            )  # fmt: skip
            shown.add(float(size))
        figure.update_xaxes(title_text="training steps [count]", **place)
        if place["col"] == 1:
            figure.update_yaxes(title_text="matrices [fraction]", **place)
    figure.update_yaxes(range=[-0.03, 1.03])
    return figure.update_layout(height=360 if rows == 1 else 280 * rows)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per run: the first step at which half of the matrices have an intruder, and should."""
    rows = [
        {"run": run, "η [1]": size, "half have one [steps]": _half(part, "with_intruder"),
         "half forecast [steps]": _half(part, "forecast"), "at the end [fraction]": _last(part, "with_intruder"),
         "forecast at the end [fraction]": _last(part, "forecast")}
        for (run, size), part in named(table).sort_values("step").groupby(["row", "step_size"], sort=False)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _half(part: pd.DataFrame, column: str) -> float:
    reached = part["step"][part[column] >= 0.5]
    return float(reached.iloc[0]) if len(reached) else np.nan


def _last(part: pd.DataFrame, column: str) -> float:
    return float(part[column].iloc[-1])


def _describe(table: pd.DataFrame) -> str:
    parts = [
        f"{row['run']} at η = {row['η [1]']:g}: {100 * row['at the end [fraction]']:.0f} % of the matrices at the end, "
        f"{100 * row['forecast at the end [fraction]']:.0f} % forecast"
        for row in _summary(table).to_dict("records")
    ]
    return "Matrices with an intruder along training. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up shares that rise sooner at larger step sizes."""
    rows = []
    for label, slow in (("full fine-tuning", 40.0), ("LoRA r = 8", 15.0)):
        for size in (1e-3, 3e-3, 1e-2):
            for step in range(5, 61, 5):
                share = float(np.clip(np.log(step * size / 1e-3 / slow) + 0.5, 0, 1))
                rows.append(
                    {"label": label, "step_size": size, "step": step, "with_intruder": share,
                     "forecast": min(1.0, 1.15 * share), "low": 0.8 * share, "high": min(1.0, 1.4 * share)}
                )  # fmt: skip
    return pd.DataFrame(rows)


INTRUDER_TIME = Figure(
    name="intruder_time",
    title="Intruders in training time",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Share of the studied matrices whose W₀ + ΔW has an intruder dimension, along training at several step sizes η "
        "(points), and the share whose ‖ΔW‖₂ has met the threshold of the spiked model on W₀'s spectrum (dashed; band: "
        "10 to 90 % of random directions)."
    ),
    reading=(
        "Dashed lines know the norm of each update and no direction of it. A solid line to the right of its dashed one "
        "is late: training goes along directions that W₀ has, which intrude only when they outgrow it. A line that "
        "stays at zero belongs to a step size that never leaves the regime of full fine-tuning as it is usually done."
    ),
    source=(BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024),
    example=_example,
)
