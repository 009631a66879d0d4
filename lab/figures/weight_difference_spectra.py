"""Singular values of the weight differences ΔW of every adapted matrix, beside what chance would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, first_seen, listed, split
from lab.figures.sources import BENAYCH_GEORGES_2012, HU_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns(
    "weight_difference_spectra", "label", "matrix", "role", "block", "index", "sigma", "null_low", "null_high"
)
_OPTIONAL = columns("weight_difference_spectra", "null_edge", "sign_edge")
_ROLES = ("query", "key", "value", "qkv", "output", "up", "gate", "down")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel per run and role, every run in a row of its own, with a line per matrix."""
    grid = Grid(theme, wrap=3, height=340, share_x=True, share_y=True).depths(table.block.dropna())
    runs, single = split(table, "label"), table.role.nunique() == 1
    for label, own in runs:
        for i, role in enumerate(_ordered(own.role)):
            panel = grid.panel(role if len(runs) == 1 else f"{label} · {role}", new_row=i == 0 and not single)
            _draw(panel, own[own.role == role], theme)
    rank = table.groupby(["label", "matrix"])["index"].transform("max")
    kept = table.sigma[(table.sigma > 0) & (table["index"] <= np.ceil(0.98 * rank))]  # the last few fall without bound
    top = max(kept.max(), table.null_high.max(skipna=True)) if len(kept) else 1.0
    low = float(kept.min()) if len(kept) else 0.1
    return grid.x("index [count]", log=True).y("singular value σ [1]", log=True, range=(low / 1.4, float(top) * 1.4))


def _ordered(roles: pd.Series) -> list[str]:
    return sorted(first_seen(roles), key=lambda role: (_ROLES.index(role) if role in _ROLES else len(_ROLES), role))


def _draw(panel: Panel, part: pd.DataFrame, theme: Theme) -> None:
    """One role: the nulls in grey behind, a line per block in front."""
    matrices = [matrix for _, matrix in part.sort_values(["block", "index"]).groupby("matrix", sort=False)]
    for matrix in matrices:
        null = matrix[matrix.null_high.notna()]
        if len(null):
            name = "chance: same shape, rank and norm"
            panel.band(null["index"], null.null_low, null.null_high, name, colour=theme.muted, alpha=0.22, edge=0.8)
    for matrix in matrices:
        if "sign_edge" in matrix and matrix.sign_edge.notna().all():
            ends, edge = [1, int(matrix["index"].max())], [float(matrix.sign_edge.iloc[0])] * 2
            panel.line(ends, edge, "largest with random signs", colour=theme.ink, dash="dot", width=1, opacity=0.6)
    for matrix in matrices:
        sigma, name, block = matrix.sigma.where(matrix.sigma > 0), matrix.matrix.iloc[0], matrix.block.iloc[0]
        panel.line(matrix["index"], sigma, name, depth=block, width=1.6, hover="σ<sub>%{x}</sub> = %{y:.4g}")


ABOVE, EXCEEDS = "above null [count]", "above the null's largest [count]"


def _above(part: pd.DataFrame) -> dict[str, Any]:
    """Of one matrix: values above the line of the sequential test (`lab.geometry.above_null`), which strong directions
    do not raise for weaker ones. Tables without that line say, under its own name, what exceeds the whole null."""
    if "null_edge" in part and part.null_edge.notna().any():
        return {ABOVE: int((part.sigma > part.null_edge.max()).sum())}
    return {EXCEEDS: int((part.sigma > part.null_high.max()).sum())}


def _answer(table: pd.DataFrame) -> Answer:
    """Per matrix: σ₁, ‖ΔW‖_F, stable rank ‖ΔW‖_F²/σ₁², effective rank exp(−Σ p ln p), values above all of the null."""
    rows = []
    for (label, matrix), part in table.groupby(["label", "matrix"], sort=False):
        sigma = np.sort(part.sigma.dropna().to_numpy(float))[::-1]
        squares, largest = float(np.sum(sigma**2)), float(sigma[0]) if len(sigma) else 0.0
        p = sigma[sigma > 0] / sigma.sum() if sigma.sum() > 0 else np.empty(0)
        row: dict[str, Any] = {"label": label, "matrix": matrix, "role": part.role.iloc[0], "block": part.block.iloc[0]}
        row |= {"values [count]": len(sigma), "largest σ": largest, "Frobenius norm": squares**0.5}
        row |= {"stable rank": squares / largest**2 if largest > 0 else 0.0}
        row |= {"effective rank": float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0}
        row |= _above(part)
        if "sign_edge" in part and part.sign_edge.notna().any():
            row |= {"above random signs [count]": int((part.sigma > part.sign_edge.max()).sum())}
        rows.append(row)
    found = pd.DataFrame(rows)
    told = []
    for label, part in split(found, "label"):
        counted = part[[name for name in (ABOVE, EXCEEDS) if name in part]]
        above, n = counted.bfill(axis=1).iloc[:, 0].astype(int), int(part["values [count]"].max())
        low, high = above.min(), above.max()
        over = f"{low if low == high else f'{low} to {high}'} above chance" if high else "none above chance"
        told.append(f"{label}: {part['effective rank'].median():.1f} of {n} ({over})")
    roles = first_seen(found.role)
    which = f"{roles[0]} matrices' differences" if len(roles) == 1 else "matrices' differences"
    return Answer(listed(f"Median effective rank of the {which}", told), found)


def _example() -> pd.DataFrame:
    """Made-up spectra: a few large directions over a nearly flat bulk, six roles, four blocks."""
    rows = []
    for role, strength in zip(("query", "key", "value", "output", "up", "down"), (3, 2.5, 5, 4, 2, 2), strict=True):
        for block in range(4):
            index = np.arange(1, 33)
            sigma = 0.02 * np.sqrt(33 - index) + 0.02 * strength * (block + 1) * np.exp(-index / 3)
            norm = np.sqrt(np.sum(sigma**2))
            null = norm * np.sqrt(33 - index) / np.sqrt(np.sum(33 - index))
            own = {"label": "full fine-tuning", "matrix": f"block.{block}.{role}.weight", "role": role, "block": block}
            bands = {"null_low": 0.93 * null, "null_high": 1.07 * null}
            rows.append(pd.DataFrame({**own, "index": index, "sigma": sigma, **bands, "sign_edge": 1.4 * null[0]}))
    return pd.concat(rows, ignore_index=True)


WEIGHT_DIFFERENCE_SPECTRA = Figure(
    name="weight_difference_spectra",
    title="Spectra of weight differences",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="weights",
    order=1,
    caption=(
        "Singular values of the weight differences ΔW of each adapted matrix, one panel per role and one line per "
        "block (colour: depth), on logarithmic axes, beside the range that random matrices of the same shape, rank and "
        "norm give (grey). Dotted lines, where there are any, are the largest singular values when every entry keeps "
        "its size and gets a random sign."
    ),
    reading=(
        "Each line falls from the largest singular value of one matrix to its smallest. Where a line begins above its "
        "grey null, training has put more into those directions than chance would put into any; a line that follows "
        "its null is indistinguishable from noise of the same size. Few values above the null and a bulk below it: the "
        "change is nearly of low rank, and a LoRA of that rank could hold most of it. Compare shapes inside a panel; "
        "absolute heights also depend on step size and training time. Rows of unequal size rise above the grey null "
        "without any common direction; what lies above the dotted line does not come from sizes."
    ),
    source=(HU_2021, BENAYCH_GEORGES_2012),
    example=_example,
)
