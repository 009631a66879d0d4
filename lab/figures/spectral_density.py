"""Density of the Hessian's eigenvalues, before and after training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import GHORBANI_2019
from lab.figures.style import Theme, fade, plain

_COLUMNS = {
    "label": Column('method, with ", random weights" for the null of pre-training', TEXT),
    "state": Column("when: start or trained", TEXT),
    "eigenvalue": Column("place on the axis of eigenvalues", "nats per unit of φ²"),
    "density": Column("estimated density of eigenvalues, integrating to 1", "1 / (nats per unit of φ²)"),
    "standard_error": Column("of the density, over random probes", "1 / (nats per unit of φ²)"),
}
_FLOOR = 1e-7  # of the highest density: one eigenvalue of a million still shows, the smoothing kernel's tail does not


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    columns = min(2, len(labels))
    rows = -(-len(labels) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[plain(label) for label in labels], horizontal_spacing=0.12,
        vertical_spacing=0.3 / rows,
    )  # fmt: skip
    figure.update_annotations(font=None)
    named: set[str] = set()
    for i, label in enumerate(labels):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        part = table[table.label == label]
        floor = float(part.density.max()) * _FLOOR or 1e-12
        for j, (state, curve) in enumerate(part.groupby("state", sort=False)):
            curve = curve.sort_values("eigenvalue")
            x, y, e = curve.eigenvalue, curve.density.clip(lower=floor), curve.standard_error.fillna(0)
            colour = theme.colour(j)
            figure.add_scatter(
                x=[*x, *x[::-1]], y=[*(y + e), *(y - e).clip(lower=floor)[::-1]], fill="toself", hoverinfo="skip",
                fillcolor=fade(colour, 0.2), line={"width": 0}, mode="lines", showlegend=False, **place,
            )  # fmt: skip
            figure.add_scatter(
                x=x, y=y, mode="lines", name=plain(state), legendgroup=plain(state), showlegend=state not in named,
                line={"color": colour, "width": 2, "dash": "dot" if state == "start" else "solid"},
                hovertemplate="λ = %{x:.3g}: %{y:.3g}", **place,
            )  # fmt: skip
            named.add(str(state))
        figure.add_vline(x=0, line={"color": theme.muted, "width": 1}, **place)
        top = float(np.log10(part.density.max())) if part.density.max() > 0 else 0.0
        figure.update_yaxes(
            type="log", range=[top + np.log10(_FLOOR), top + 0.3], exponentformat="power", dtick=1,
            title_text="density [1/λ]", **place,
        )  # fmt: skip
        figure.update_xaxes(title_text="eigenvalue λ [nats per unit of φ²]", **place)
    return figure.update_layout(height=360 if rows == 1 else 250 * rows)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and state: range of the density above its floor, and the share of it below zero."""
    rows = []
    for (label, state), part in table.groupby(["label", "state"], sort=False):
        part = part.sort_values("eigenvalue")
        seen = part[part.density > part.density.max() * _FLOOR]
        x, p = part.eigenvalue.to_numpy(float), part.density.to_numpy(float)
        total = float(np.trapezoid(p, x)) if len(x) > 1 else 0.0
        below = float(np.trapezoid(np.where(x < 0, p, 0), x)) if len(x) > 1 else 0.0
        rows.append(
            {"label": label, "state": state, "smallest": seen.eigenvalue.min(), "largest": seen.eigenvalue.max(),
             "below zero [share]": below / total if total else 0.0}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    return " ".join(
        f"{row['label']}, {row['state']}: Hessian eigenvalues from {row['smallest']:.3g} to {row['largest']:.3g}."
        for _, row in _summary(table).iterrows()
    )


def _example() -> pd.DataFrame:
    """Made-up densities: a peak at zero, one outlier, and negative eigenvalues that training removes."""
    x = np.linspace(-0.4, 2, 200)
    rows = []
    for label, scale in (("LoRA r = 8", 1.0), ("BitFit", 0.7)):
        for state, negative, at in (("start", 0.02, 1.6), ("trained", 0.001, 1.1)):
            bump = lambda centre, width: np.exp(-0.5 * ((x - centre) / width) ** 2) / width  # noqa: E731
            p = 0.4 * (bump(0, 0.05) + negative * bump(-0.25, 0.04) + 0.01 * bump(at * scale, 0.05))
            rows.append(
                pd.DataFrame({"label": label, "state": state, "eigenvalue": x, "density": p, "standard_error": 0.2 * p})
            )
    return pd.concat(rows, ignore_index=True)


SPECTRAL_DENSITY = Figure(
    name="spectral_density",
    title="Density of the Hessian's eigenvalues",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Density of the eigenvalues of the loss's Hessian in each delta's vector by stochastic Lanczos quadrature, "
        "before training (dotted) and after (solid); the band is one standard error over random probes, the height "
        "logarithmic."
    ),
    reading=(
        "Nearly all eigenvalues sit in the peak at zero: directions in which the loss is flat. Bumps to the right are "
        "the stiff directions, one narrow bump for each; to the left of zero the loss curves downwards, which the "
        "Gauss-Newton matrix cannot show. The width of a bump is that of the smoothing, not of the spectrum. Training "
        "that ends in a minimum has removed what was left of zero."
    ),
    source=(GHORBANI_2019,),
    example=_example,
)
