"""Recovered share of the loss against the dimension of a random subspace: predicted, measured, simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.sources import DEREZINSKI_2020, LI_2018
from lab.figures.style import Theme, counted
from lab.statistics import Answer

_COLUMNS = columns("d90_curves", "label", "kind", "variant", "d", "share")
_OPTIONAL = columns("d90_curves", "low", "high")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=3, height=340, share_y=True)
    for panel, part in grid.by(table, "label"):
        for (kind, named), points in part.groupby(["kind", "variant"], sort=False):
            variant, points = str(named), points.sort_values("d")
            if kind == "predicted":
                panel.line(points.d, points.share, variant, width=2, symbol=grid.symbol(variant), size=5)
                continue
            known = "low" in points and points.low.notna().any()
            bars: dict[str, Any] = (
                {"error": points.high - points.share, "error_down": points.share - points.low} if known else {}
            )
            look: dict[str, Any] = {"colour": theme.ink, "size": 6, "symbol": grid.symbol(variant)}
            panel.points(points.d, points.share, variant, hover="d = %{x}: %{y:.3f}", **look, **bars)
        panel.rule(y=0.9, name="90 %").x("dimension d [count]", log=True)
    low = min(-0.05, max(-0.6, float(table.share.min()) - 0.05))
    return grid.y("recovered share [1]", range=(low, 1.15))


def _answer(table: pd.DataFrame) -> Answer:
    """Per problem and curve: the smallest tabulated dimension whose mean share reaches 0.9."""
    rows = []
    for (label, kind, variant), part in table.groupby(["label", "kind", "variant"], sort=False):
        means = part.groupby("d").share.mean()
        reached = means.index[means >= 0.9 - 1e-9]
        rows.append((label, kind, variant, len(part), float(reached.min()) if len(reached) else np.nan))
    found = pd.DataFrame(rows, columns=["label", "kind", "variant", "points [count]", "first d at 90 %"])
    told = [_compared(label, part) for label, part in found.groupby("label", sort=False)]
    lead = "Dimension at which a random subspace recovers 90 % of the loss, in brackets as predicted"
    return Answer(listed(lead, told, end="." + _inside(table)), found)


def _compared(label: object, part: pd.DataFrame) -> str:
    """Of one problem: what was measured or simulated, in brackets the prediction, of several their ends."""
    ours = part.kind == "predicted"
    seen, foreseen = (part["first d at 90 %"][which] for which in (~ours, ours))
    known = foreseen.dropna().sort_values()
    if len(known) > 1:
        predicted = f"{known.iloc[0]:.0f} to {known.iloc[-1]:.0f} by {len(foreseen)} predictors"
    else:
        predicted = ", ".join(map(_first, foreseen))
    found = ", ".join(map(_first, seen))
    return f"{label}: {found} ({predicted})" if found and predicted else f"{label}: {found or predicted}"


def _first(d: float) -> str:
    return f"{d:.0f}" if d == d else "never"


def _inside(table: pd.DataFrame) -> str:
    """How often a prediction lies in the interval of the simulation at the same problem and dimension."""
    if "low" not in table or table.low.isna().all():
        return ""
    seen = table[table.low.notna()]
    foreseen = table[table.kind == "predicted"][["label", "d", "share"]].rename(columns={"share": "foreseen"})
    both = seen.merge(foreseen, on=["label", "d"])
    if both.empty:
        return ""
    inside, points = both.foreseen.between(both.low, both.high).sum(), counted(len(both), "point")
    return f" The prediction lies inside the interval of the simulation at {inside} of {points}."


def _example() -> pd.DataFrame:
    """Made-up curves of two problems."""
    d = np.array([1, 2, 4, 8, 16, 32, 64])
    rows = []
    for label, scale in (("λ = 1/i", 20.0), ("minilm · bbc-news · LoRA", 6.0)):
        share = d / (d + scale)
        rows.append(
            pd.DataFrame({"label": label, "kind": "predicted", "variant": "closed form", "d": d, "share": share})
        )
        seen = pd.DataFrame(
            {"label": label, "kind": "simulated", "variant": "random subspaces", "d": d, "share": share}
        )
        rows.append(seen.assign(low=share - 0.04, high=share + 0.04))
    return pd.concat(rows, ignore_index=True)


D90_CURVES = Figure(
    name="d90_curves",
    title="What a random subspace recovers",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="loss",
    order=4,
    caption=(
        "Share of the loss's fall that a random subspace of dimension d recovers: lines are predictions from a "
        "curvature spectrum, points are training runs, or simulations with the interval of their mean; the dotted line "
        "is 90 %."
    ),
    reading=(
        "d₉₀ is where a curve crosses the dotted line. A curve that rises early belongs to a spectrum with few stiff "
        "directions; for equal eigenvalues it is the diagonal d/D (a hockey stick on this axis). Points on their line "
        "say that the loss behaves like the quadratic the line assumes. Training runs can lie below it because they "
        "stop early, and above 1 where a subspace ends lower than the whole delta."
    ),
    source=(DEREZINSKI_2020, LI_2018),
    example=_example,
)
