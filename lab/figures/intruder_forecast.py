"""Forecast and seen strength of the first intruder, matrix by matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.intruders import named
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme, counted, plain

_COLUMNS = {
    "label": Column("which run", TEXT),
    "matrix": Column("unique label of the weight matrix", TEXT),
    "forecast": Column("t of the first intruder by the spiked model, from W₀'s spectrum and ‖ΔW‖₂ alone", "1"),
    "forecast_low": Column("10 % of random directions intrude before", "1"),
    "forecast_high": Column("90 % do", "1"),
    "seen": Column("t at which the first intruder is seen; infinite if none is", "1"),
}
_OPTIONAL = {
    "model": Column("the PLM", TEXT),
    "seen_random": Column("the same for ΔW with random directions", "1"),
    "aligned": Column("forecast that knows ΔW's leading directions", "1"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = named(table)
    figure = go.Figure()
    columns = [name for name in ("forecast", "seen", "seen_random") if name in table]
    finite = table[columns].to_numpy(float).ravel()
    finite = finite[np.isfinite(finite) & (finite > 0)]
    ends = [float(finite.min()) / 1.5, float(finite.max()) * 1.5] if len(finite) else [1.0, 10.0]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", name="as forecast", line={"color": theme.muted, "dash": "dash"}, hoverinfo="skip"
    )
    for i, (row, part) in enumerate(table.groupby("row", sort=False)):
        sides = [("seen_random", "circle-open", ", random directions", 0.55)] if "seen_random" in part else []
        for column, symbol, suffix, opacity in [*sides, ("seen", "circle", "", 1.0)]:
            known = part[np.isfinite(part[column]) & np.isfinite(part["forecast"])]
            bars = {
                "type": "data", "symmetric": False, "thickness": 0.8, "width": 0,
                "array": (known["forecast_high"] - known["forecast"]).where(np.isfinite(known["forecast_high"])),
                "arrayminus": known["forecast"] - known["forecast_low"],
            }  # fmt: skip
            figure.add_scatter(
                x=known["forecast"], y=known[column], mode="markers", name=plain(f"{row}{suffix}"), opacity=opacity,
                marker={"color": theme.colour(i), "symbol": symbol, "size": 9},
                text=[plain(matrix) for matrix in known["matrix"]],
                error_x=bars if column == "seen" else None,
                hovertemplate="%{text}<br>forecast %{x:.3g}, seen %{y:.3g}",
            )  # fmt: skip
    log = {
        "type": "log",
        "range": [float(np.log10(end)) for end in ends],
        "dtick": "D2" if ends[1] < 60 * ends[0] else 1,
    }
    figure.update_xaxes(title_text="forecast strength t of the first intruder [1]", **log)
    figure.update_yaxes(title_text="strength at which it is seen [1]", **log)
    figure.update_layout(height=460)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per run: how many matrices intrude, how far off the forecasts are, and whether they order the matrices."""
    rows = []
    for row, part in named(table).groupby("row", sort=False):
        pairs = part[np.isfinite(part["seen"]) & np.isfinite(part["forecast"])]
        inside = pairs["seen"].between(pairs["forecast_low"], pairs["forecast_high"])
        order = pairs[["forecast", "seen"]].rank().corr().iloc[0, 1] if len(pairs) > 2 else np.nan
        found = {
            "run": row, "matrices [count]": len(part), "intrude [count]": int(np.isfinite(part["seen"]).sum()),
            "median seen t [1]": float(part["seen"].median()),
            "median forecast t [1]": float(part["forecast"].median()),
            "seen / forecast, median [1]": float((pairs["seen"] / pairs["forecast"]).median()),
            "inside the forecast's range [%]": 100 * float(inside.mean()) if len(pairs) else np.nan,
            "rank correlation [1]": order,
        }  # fmt: skip
        if "aligned" in part:
            found["seen / aligned forecast, median [1]"] = float((part["seen"] / part["aligned"]).median())
        if "seen_random" in part:
            found["random directions, median t [1]"] = float(part["seen_random"].median())
        rows.append(found)
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    parts = [
        f"{row['run']}: {row['intrude [count]']} of {counted(row['matrices [count]'], 'matrix', 'matrices')} get an "
        f"intruder, the median one at {row['seen / forecast, median [1]']:.2f} times the forecast strength, rank "
        f"correlation {row['rank correlation [1]']:.2f}"
        for row in _summary(table).to_dict("records")
    ]
    return "Forecast against seen strength of the first intruder. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up onsets about their forecasts."""
    rows = [
        {"label": label, "matrix": f"block.{n}.query", "forecast": base * 1.3**n, "forecast_low": base * 1.1**n / 1.2,
         "forecast_high": base * 1.4**n * 1.2, "seen": base * 1.3**n * (0.9 + 0.1 * (n % 4)),
         "seen_random": base * 1.3**n, "aligned": base * 1.3**n}
        for label, base in (("LoRA r = 8", 3.0), ("full fine-tuning", 40.0))
        for n in range(6)
    ]  # fmt: skip
    return pd.DataFrame(rows)


INTRUDER_FORECAST = Figure(
    name="intruder_forecast",
    title="First intruder: forecast and seen",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Strength t at which W₀ + t·ΔW has its first intruder dimension (k = 10, ε = ½): forecast by the spiked model "
        "from the spectrum of W₀ and ‖ΔW‖₂ alone (bars: 10 to 90 % of random directions), against what is seen, one "
        "point per matrix; open: updates with the same singular values and random directions."
    ),
    reading=(
        "Points on the dashed line appear when forecast. Open points test the model where its assumption holds: "
        "directions in general position. Filled points above the line are late: training goes along directions of W₀, "
        "which makes no intruder until they are outgrown. Points are missing where no intruder is seen up to twenty "
        "times the size of W₀. Logarithmic axes: the size of ΔW, which differs between methods, sets most of the "
        "position."
    ),
    source=(BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024),
    example=_example,
)
