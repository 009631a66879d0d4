"""Density of the Hessian's eigenvalues, before and after training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.curvature_spectrum import ordered_scopes
from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import GHORBANI_2019
from lab.figures.style import Theme, block_bar, fade, plain

_COLUMNS = {
    "label": Column('method, with ", random weights" for the null of pre-training', TEXT),
    "state": Column("when: start or trained", TEXT),
    "eigenvalue": Column("place on the axis of eigenvalues", "nats per unit of φ²"),
    "density": Column("estimated density of eigenvalues, integrating to 1", "1 / (nats per unit of φ²)"),
    "standard_error": Column("of the density, over random probes", "1 / (nats per unit of φ²)"),
}
_OPTIONAL = {"scope": Column("coordinates: all, block b, or outside the blocks", TEXT)}
_WHOLE = "all"
_FLOOR = 1e-7  # of the highest density: one eigenvalue of a million still shows, the smoothing kernel's tail does not


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """A panel per method, and one per method and state whose blocks are known."""
    if "scope" not in table:
        table = table.assign(scope=_WHOLE)
    whole, blocks = table[table.scope == _WHOLE], table[table.scope != _WHOLE]
    panels = [(plain(label), part) for label, part in whole.groupby("label", sort=False)]
    panels += [
        (plain(f"{label}, {state}: each block"), part)
        for (label, state), part in blocks.groupby(["label", "state"], sort=False)
    ]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[title for title, _ in panels], horizontal_spacing=0.12,
        vertical_spacing=0.3 / rows,
    )  # fmt: skip
    figure.update_annotations(font=None)
    depths = ordered_scopes(blocks.scope)
    inner = [scope for scope in depths if scope.startswith("block ")]
    colours = dict(zip(inner, theme.depths(len(inner)), strict=True))
    named: set[str] = set()
    for i, (_, part) in enumerate(panels):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        floor = float(part.density.max()) * _FLOOR or 1e-12
        for j, ((scope, state), curve) in enumerate(part.groupby(["scope", "state"], sort=False)):
            curve = curve.sort_values("eigenvalue")
            x, y, e = curve.eigenvalue, curve.density.clip(lower=floor), curve.standard_error.fillna(0)
            entire = scope == _WHOLE
            colour = theme.colour(j) if entire else colours.get(str(scope), theme.muted)
            name = plain(state) if entire else plain(scope)
            if entire:
                figure.add_scatter(
                    x=[*x, *x[::-1]], y=[*(y + e), *(y - e).clip(lower=floor)[::-1]], fill="toself", hoverinfo="skip",
                    fillcolor=fade(colour, 0.2), line={"width": 0}, mode="lines", showlegend=False, **place,
                )  # fmt: skip
            figure.add_scatter(
                x=x, y=y, mode="lines", name=name, legendgroup=name,
                showlegend=name not in named and scope not in inner,
                line={"color": colour, "width": 2 if entire else 1.3, "dash": "dot" if state == "start" else "solid"},
                hovertemplate=f"{name}, λ = %{{x:.3g}}: %{{y:.3g}}", **place,
            )  # fmt: skip
            named.add(name)
        figure.add_vline(x=0, line={"color": theme.muted, "width": 1}, **place)
        top = float(np.log10(part.density.max())) if part.density.max() > 0 else 0.0
        figure.update_yaxes(
            type="log", range=[top + np.log10(_FLOOR), top + 0.3], exponentformat="power", dtick=1,
            title_text="density [1/λ]", **place,
        )  # fmt: skip
        figure.update_xaxes(title_text="eigenvalue λ [nats per unit of φ²]", **place)
    block_bar(figure, [int(scope.split()[-1]) for scope in inner], theme)
    return figure.update_layout(height=360 if rows == 1 else 250 * rows)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and state: range of the density above its floor, and the share of it below zero."""
    rows = []
    whole = table[table.scope == _WHOLE] if "scope" in table and (table.scope == _WHOLE).any() else table
    for (label, state), part in whole.groupby(["label", "state"], sort=False):
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
                pd.DataFrame(
                    {"label": label, "state": state, "scope": "all", "eigenvalue": x, "density": p,
                     "standard_error": 0.2 * p}
                )
            )  # fmt: skip
    for block in range(4):
        p = np.exp(-0.5 * (x / 0.05) ** 2) + 1e-3 * np.exp(-0.5 * ((x - 0.3 * block) / 0.05) ** 2)
        rows.append(
            pd.DataFrame(
                {"label": "LoRA r = 8", "state": "trained", "scope": f"block {block}", "eigenvalue": x,
                 "density": p / p.sum() / (x[1] - x[0]), "standard_error": 0.1 * p}
            )
        )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


SPECTRAL_DENSITY = Figure(
    name="spectral_density",
    title="Density of the Hessian's eigenvalues",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Density of the eigenvalues of the loss's Hessian in each delta's vector by stochastic Lanczos quadrature, "
        "before training (dotted) and after (solid); the band is one standard error over random probes, the height "
        "logarithmic. Where blocks are known, a panel has the densities of the Hessian's diagonal blocks."
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
