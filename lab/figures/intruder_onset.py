"""When the first intruder comes, in training time and in step size: forecast against seen, matrix by matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.intruders import named
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme, counted, log_ticks, plain
from lab.statistics.intruder_onset import onset

_COLUMNS = {
    "label": Column("which method", TEXT),
    "along": Column("what grows: training time, or step size", TEXT),
    "run": Column("what is held: the step size, or the number of steps", TEXT),
    "matrix": Column("unique label of the weight matrix", TEXT),
    "forecast": Column("where the known ‖ΔW‖₂ meets the threshold; infinite: nowhere in the run", "steps or η"),
    "extrapolated": Column("the same for the norm continued from the start of the run, or the least η", "steps or η"),
    "seen": Column("the first place looked at that has an intruder; infinite: none", "steps or η"),
    "before": Column("the last place looked at without one; 0: none", "steps or η"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}
_AXES = {"training time": "step [count]", "step size": "η [1]"}
_KINDS = {"forecast": ("circle", "norm known"), "extrapolated": ("circle-open", "norm extrapolated")}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = named(table)
    panels = list(dict.fromkeys(table["along"]))
    figure = make_subplots(1, len(panels), horizontal_spacing=0.12, subplot_titles=[plain(p) for p in panels])
    figure.update_annotations(font=None)
    runs = list(dict.fromkeys(table["row"]))
    named_already: set[str] = set()
    for c, along in enumerate(panels, start=1):
        part = table[table["along"] == along]
        ends = _ends(part)
        figure.add_scatter(
            x=ends, y=ends, mode="lines", line={"color": theme.muted, "dash": "dash"}, name="as forecast",
            showlegend=c == 1, hoverinfo="skip", row=1, col=c,
        )  # fmt: skip
        for i, run in enumerate(runs):
            for column, (symbol, suffix) in reversed(_KINDS.items()):
                known = part[(part["row"] == run) & np.isfinite(part[column])].assign(at=onset).dropna(subset="at")
                name = plain(f"{run}, {suffix}")
                bars = {"type": "data", "symmetric": False, "thickness": 0.8, "width": 0,
                        "array": known["seen"] - known["at"], "arrayminus": known["at"] - known["before"]}  # fmt: skip
                figure.add_scatter(
                    x=known[column].clip(*ends), y=known["at"], mode="markers", name=name, legendgroup=name,
                    showlegend=len(known) > 0 and name not in named_already,
                    error_y=bars if column == "forecast" else None,
                    marker={"color": theme.colour(i), "symbol": symbol, "size": 7}, opacity=0.75, cliponaxis=False,
                    text=[plain(f"{m}, {r}") for m, r in zip(known["matrix"], known["run"], strict=True)],
                    hovertemplate="%{text}<br>forecast %{x:.3g}, seen %{y:.3g}", row=1, col=c,
                )  # fmt: skip
                named_already |= {name} if len(known) else set()
        quantity = _AXES.get(along, plain(f"{along} [1]"))
        low, high = (float(np.log10(end)) for end in ends)
        log = {"type": "log", "range": [low - 0.01, high + 0.01],  # rounding shall hide no point at an edge
               "tickvals": log_ticks(*ends), "exponentformat": "power"}  # fmt: skip
        figure.update_xaxes(title_text=f"forecast {quantity}", row=1, col=c, **log)
        figure.update_yaxes(title_text=f"seen {quantity}", row=1, col=c, **log)
    return figure.update_layout(height=420)


def _ends(part: pd.DataFrame) -> tuple[float, float]:
    """The range of what is seen and of the known forecast; an extrapolation outside is drawn at the edge."""
    values = part[["forecast", "seen"]].to_numpy(float).ravel()
    values = values[np.isfinite(values) & (values > 0)]
    return (float(values.min()) / 2, float(values.max()) * 2) if len(values) else (1.0, 10.0)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and way to grow: first intruders seen, and the ratio of seen to each forecast."""
    rows = []
    for (run, along), part in named(table).groupby(["row", "along"], sort=False):
        seen = part[np.isfinite(part["seen"])]
        row = {"run": run, "over": along, "looked at [count]": len(part), "intrude [count]": len(seen),
               "forecast to [count]": int(np.isfinite(part["forecast"]).sum())}  # fmt: skip
        for column, (_, suffix) in _KINDS.items():
            both = seen[np.isfinite(seen[column])].assign(at=onset).dropna(subset="at")
            order = both[[column, "at"]].rank().corr().iloc[0, 1] if len(both) > 2 else np.nan
            row[f"seen / forecast, {suffix}, median [1]"] = float((both["at"] / both[column]).median())
            row[f"rank correlation, {suffix} [1]"] = order
        rows.append(row)
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    parts = [
        f"{row['run']}, over {row['over']}: {row['intrude [count]']} of {counted(row['looked at [count]'], 'pair')} of "
        f"matrix and run get an intruder, at {row['seen / forecast, norm known, median [1]']:.2f} times the forecast"
        for row in _summary(table).to_dict("records")
    ]
    return "When the first intruder comes, forecast and seen. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up onsets about their forecasts."""
    rows = []
    for label, slow in (("full fine-tuning", 2.0), ("LoRA r = 8", 1.0)):
        for n in range(6):
            for size in (1e-3, 3e-3, 1e-2):
                at = slow * 4e-2 / size * 1.15**n
                rows.append(
                    {"label": label, "along": "training time", "run": f"η = {size:g}", "matrix": f"block.{n}.query",
                     "forecast": at, "extrapolated": 0.8 * at, "seen": 1.1 * at, "before": 0.95 * at}
                )  # fmt: skip
            at = slow * 1e-3 * 1.15**n
            rows.append(
                {"label": label, "along": "step size", "run": "60 steps", "matrix": f"block.{n}.query", "forecast": at,
                 "extrapolated": 0.7 * at, "seen": 1.2 * at, "before": 0.6 * at}
            )  # fmt: skip
    return pd.DataFrame(rows)


INTRUDER_ONSET = Figure(
    name="intruder_onset",
    title="First intruder in training time and in step size",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Step (left) and step size (right) from which W₀ + ΔW has an intruder dimension, against where ‖ΔW‖₂ meets the "
        "threshold of the spiked model on W₀'s spectrum; one point per matrix and run, halfway between the last "
        "place looked at without an intruder and the first with one (bars). Filled: the norm as it was. Open: the norm "
        "continued from the first quarter of the run, or from the least step size. Logarithmic axes."
    ),
    reading=(
        "Points on the dashed line come when forecast; above it they are late, because training first moves along "
        "directions of W₀. Filled points test the threshold, open ones also whether a norm can be continued: open "
        "points at an edge were extrapolated beyond the axis. Matrices without an intruder up to the last step, or the "
        "largest step size, and those that have one wherever looked, are missing; the table counts them."
    ),
    source=(BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024),
    example=_example,
)
