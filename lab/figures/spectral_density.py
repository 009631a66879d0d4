"""Density of the Hessian's eigenvalues, before and after training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import GHORBANI_2019
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("spectral_density", "label", "state", "eigenvalue", "density", "standard_error")
_OPTIONAL = columns("spectral_density", "scope")
_WHOLE = "all"
_FLOOR = 1e-7  # of the highest density: one eigenvalue of a million still shows, the smoothing kernel's tail does not


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel per method, and one per method and state whose blocks are known."""
    table = table if "scope" in table else table.assign(scope=_WHOLE)
    block = table.scope.str.extract(r"^block (\d+)$")[0].astype(float)
    grid = Grid(theme, wrap=2, height=360).depths(block.dropna())
    whole, blocks = table[table.scope == _WHOLE], table.assign(block=block)[table.scope != _WHOLE]
    for label, part in split(whole, "label"):
        panel = grid.panel(label).rule(x=0, dash="solid")
        for state, curve in split(part, "state"):
            _curve(panel, curve, _floor(panel, part), state, {"colour": grid.colour(state), "width": 2}, band=True)
    for (run, when), part in blocks.groupby(["label", "state"], sort=False):
        panel = grid.panel(f"{run}, {when}: each block").rule(x=0, dash="solid")
        for scope, curve in split(part, "scope"):
            at = curve.block.iloc[0]
            look = {"depth": at, "width": 1.3} if at == at else {"colour": theme.muted, "width": 1.3}
            _curve(panel, curve, _floor(panel, part), scope, look, band=False)
    return grid.x("eigenvalue λ [nats per unit of φ²]")


def _floor(panel: Panel, part: pd.DataFrame) -> float:
    """The lowest density that is drawn; gives the panel its axis."""
    top = float(part.density.max())
    panel.y("density [1/λ]", log=True, range=(_FLOOR * top, 2 * top) if top > 0 else None)
    return top * _FLOOR or 1e-12


def _curve(panel: Panel, curve: pd.DataFrame, floor: float, name: str, look: dict[str, Any], *, band: bool) -> None:
    curve = curve.sort_values("eigenvalue")
    x, y, e = curve.eigenvalue, curve.density.clip(lower=floor), curve.standard_error.fillna(0)
    if band:
        panel.band(x, (y - e).clip(lower=floor), y + e, name, colour=look["colour"], alpha=0.2)
    dash = "dot" if curve.state.iloc[0] == "start" else "solid"
    panel.line(x, y, name, dash=dash, hover="λ = %{x:.3g}: %{y:.3g}", **look)


def _answer(table: pd.DataFrame) -> Answer:
    """Per method and state: range of the density above its floor.

    Not the share of it below zero: the smoothing puts half of every eigenvalue that is 0 there.
    """
    rows = []
    whole = table[table.scope == _WHOLE] if "scope" in table and (table.scope == _WHOLE).any() else table
    for (label, state), part in whole.groupby(["label", "state"], sort=False):
        part = part.sort_values("eigenvalue")
        seen = part[part.density > part.density.max() * _FLOOR].eigenvalue
        rows.append((label, state, seen.min(), seen.max()))
    found = pd.DataFrame(rows, columns=["label", "state", "smallest", "largest"])
    told = [f"{label}, {state}: {low:.3g} to {high:.3g}" for label, state, low, high in rows]
    return Answer(listed("The Hessian's eigenvalues lie between", told), found)


def _example() -> pd.DataFrame:
    """Made-up densities: a peak at zero, one outlier, and negative eigenvalues that training removes."""
    x = np.linspace(-0.4, 2, 200)
    rows = []
    for label, scale in (("LoRA r = 8", 1.0), ("BitFit", 0.7)):
        for state, negative, at in (("start", 0.02, 1.6), ("trained", 0.001, 1.1)):
            bump = lambda centre, width: np.exp(-0.5 * ((x - centre) / width) ** 2) / width  # noqa: E731
            p = 0.4 * (bump(0, 0.05) + negative * bump(-0.25, 0.04) + 0.01 * bump(at * scale, 0.05))
            own = {"label": label, "state": state, "scope": "all", "eigenvalue": x, "density": p}
            rows.append(pd.DataFrame({**own, "standard_error": 0.2 * p}))
    for block in range(4):
        p = np.exp(-0.5 * (x / 0.05) ** 2) + 1e-3 * np.exp(-0.5 * ((x - 0.3 * block) / 0.05) ** 2)
        own = {"label": "LoRA r = 8", "state": "trained", "scope": f"block {block}", "eigenvalue": x}
        rows.append(pd.DataFrame({**own, "density": p / p.sum() / (x[1] - x[0]), "standard_error": 0.1 * p}))
    return pd.concat(rows, ignore_index=True)


SPECTRAL_DENSITY = Figure(
    name="spectral_density",
    title="Density of the Hessian's eigenvalues",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="loss",
    order=2,
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
