"""Singular values of the weight differences ΔW of every adapted matrix, beside what chance would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import BENAYCH_GEORGES_2012, HU_2021
from lab.figures.style import Theme, block_bar, counted, fade, log_ticks, plain

_COLUMNS = {
    "label": Column("which run or method made the difference", TEXT),
    "matrix": Column("unique label of the weight matrix", TEXT),
    "role": Column("its role in the block: query, key, value, output, up, down, …", TEXT),
    "block": Column("depth, from 0", "count"),
    "index": Column("number of the singular value, from 1, in decreasing order", "count"),
    "sigma": Column("singular value of ΔW", "1"),
    "null_low": Column("lower end of this singular value under the null", "1"),
    "null_high": Column("upper end of this singular value under the null", "1"),
}
_ROLES = ("query", "key", "value", "qkv", "output", "up", "gate", "down")


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    roles = {label: _ordered(table.role[table.label == label]) for label in labels}
    columns = min(max(map(len, roles.values())), 3)
    places: dict[tuple[str, str], tuple[int, int]] = {}
    rows = 0
    for label in labels:  # each starts a row of its own, with the roles it changes
        for j, role in enumerate(roles[label]):
            places[label, role] = (rows + j // columns + 1, j % columns + 1)
        rows += -(-len(roles[label]) // columns)
    titles = {
        place: plain(role if len(labels) == 1 else f"{label} · {role}") for (label, role), place in places.items()
    }
    figure = make_subplots(
        rows, columns, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03, vertical_spacing=0.18 / rows,
        subplot_titles=[titles.get((row + 1, column + 1), "") for row in range(rows) for column in range(columns)],
    )  # fmt: skip
    figure.update_annotations(font=None)
    blocks = sorted(int(block) for block in table.block.dropna().unique())
    colours = dict(zip(blocks, theme.depths(len(blocks)), strict=True))
    for (label, role), (row, column) in places.items():
        part = table[(table.label == label) & (table.role == role)]
        _panel(figure, part, colours, theme, {"row": row, "col": column})
    _axes(figure, table, set(places.values()), rows, columns)
    _keys(figure, table, blocks, theme)
    figure.update_layout(height=380 if rows == 1 else 230 * rows)
    return figure


def _axes(figure: go.Figure, table: pd.DataFrame, used: set[tuple[int, int]], rows: int, columns: int) -> None:
    """Log-log scales shared by all panels: spikes at the head and the bulk both show; labels at the outer panels only.

    The last few values of a square matrix fall without bound; the scale ends below all but the last 2 % of each matrix.
    """
    rank = table.groupby(["label", "matrix"])["index"].transform("max")
    positive = table.sigma[(table.sigma > 0) & (table["index"] <= np.ceil(0.98 * rank))]
    top = float(np.log10(max(positive.max(), table.null_high.max(skipna=True)))) if len(positive) else 0.0
    floor = float(np.log10(positive.min())) if len(positive) else -1.0
    figure.update_yaxes(type="log", range=[floor - 0.15, top + 0.15], exponentformat="power")
    figure.update_yaxes(dtick="D2" if top - floor < 1.8 else 1)  # 1, 2, 5 in every decade, or decades alone
    last = float(table["index"].max())
    figure.update_xaxes(type="log", range=[-0.04, float(np.log10(last)) + 0.04], tickvals=log_ticks(1, last))
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text="singular value σ [1]", row=row, col=1)
        for column in range(1, columns + 1):
            if (row, column) not in used:
                figure.update_xaxes(visible=False, row=row, col=column)
                figure.update_yaxes(visible=False, row=row, col=column)
            elif (row + 1, column) not in used:
                figure.update_xaxes(title_text="index [count]", showticklabels=True, row=row, col=column)


def _ordered(roles: pd.Series) -> list[str]:
    present = list(dict.fromkeys(roles))
    return sorted(present, key=lambda role: (_ROLES.index(role) if role in _ROLES else len(_ROLES), role))


def _panel(figure: go.Figure, part: pd.DataFrame, colours: dict[int, str], theme: Theme, panel: dict[str, int]) -> None:
    """One role: the nulls in grey behind, a line per block in front."""
    matrices = [matrix for _, matrix in part.sort_values(["block", "index"]).groupby("matrix", sort=False)]
    for matrix in matrices:
        null = matrix[matrix.null_high.notna()]
        if len(null):
            figure.add_scatter(
                x=[*null["index"], *null["index"][::-1]], y=[*null.null_high, *null.null_low[::-1]],
                showlegend=False, hoverinfo="skip", **_null_mark(theme), **panel,
            )  # fmt: skip
    for matrix in matrices:
        name = plain(matrix.matrix.iloc[0])
        figure.add_scatter(
            x=matrix["index"], y=matrix.sigma.where(matrix.sigma > 0), mode="lines", showlegend=False, name=name,
            line={"color": colours.get(matrix.block.iloc[0], theme.ink), "width": 1.6},
            hovertemplate=f"σ<sub>%{{x}}</sub> = %{{y:.4g}}<extra>{name}</extra>", **panel,
        )  # fmt: skip


def _null_mark(theme: Theme) -> dict[str, Any]:
    line = {"width": 0.8, "color": fade(theme.muted, 0.7)}  # of a large matrix the band is thinner than its edge
    return {"mode": "lines", "line": line, "fill": "toself", "fillcolor": fade(theme.muted, 0.22)}


def _keys(figure: go.Figure, table: pd.DataFrame, blocks: list[int], theme: Theme) -> None:
    """Legend of the null, and a colour bar for the depth; both on points without data."""
    if table.null_high.notna().any():
        name = "chance: same shape, rank and norm"
        figure.add_scatter(x=[None], y=[None], name=name, row=1, col=1, **_null_mark(theme))
    block_bar(figure, blocks, theme, length=260)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per matrix: σ₁, ‖ΔW‖_F, stable rank ‖ΔW‖_F²/σ₁², effective rank exp(−Σ p ln p), values above all of the null."""
    rows = []
    for (label, matrix), part in table.groupby(["label", "matrix"], sort=False):
        sigma = np.sort(part.sigma.dropna().to_numpy(float))[::-1]
        squares = float(np.sum(sigma**2))
        p = sigma[sigma > 0] / sigma.sum() if sigma.sum() > 0 else np.empty(0)
        largest = float(sigma[0]) if len(sigma) else 0.0
        rows.append(
            {"label": label, "matrix": matrix, "role": part.role.iloc[0], "block": part.block.iloc[0],
             "values [count]": len(sigma), "largest σ": largest, "Frobenius norm": squares**0.5,
             "stable rank": squares / largest**2 if largest > 0 else 0.0,
             "effective rank": float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0,
             "above null [count]": int((part.sigma > part.null_high.max()).sum())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    sentences = []
    for label, part in found.groupby("label", sort=False):
        above = part["above null [count]"]
        most = part.sort_values("above null [count]").iloc[-1]
        beyond = f"between {above.min()} and {above.max()} of them exceed the largest that chance gives, most in "
        sentences.append(
            f"{label}: {counted(len(part), 'matrix', 'matrices')}, median effective rank "
            f"{part['effective rank'].median():.1f} of {int(part['values [count]'].max())} singular values; "
            + (f"{beyond}{most['matrix']}." if above.max() else "none exceeds the largest that chance gives.")
        )
    return " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up spectra: a few large directions over a nearly flat bulk, six roles, four blocks."""
    rows = []
    for role, strength in zip(("query", "key", "value", "output", "up", "down"), (3, 2.5, 5, 4, 2, 2), strict=True):
        for block in range(4):
            index = np.arange(1, 33)
            sigma = 0.02 * np.sqrt(33 - index) + 0.02 * strength * (block + 1) * np.exp(-index / 3)
            norm = np.sqrt(np.sum(sigma**2))
            null = norm * np.sqrt(33 - index) / np.sqrt(np.sum(33 - index))
            rows.append(
                pd.DataFrame(
                    {"label": "full fine-tuning", "matrix": f"block.{block}.{role}.weight", "role": role,
                     "block": block, "index": index, "sigma": sigma, "null_low": 0.93 * null, "null_high": 1.07 * null}
                )
            )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


WEIGHT_DIFFERENCE_SPECTRA = Figure(
    name="weight_difference_spectra",
    title="Spectra of weight differences",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Singular values of the weight differences ΔW of each adapted matrix, one panel per role and one line per "
        "block (colour: depth), on logarithmic axes, beside the range that random matrices of the same shape, rank and "
        "norm give (grey)."
    ),
    reading=(
        "Each line falls from the largest singular value of one matrix to its smallest. Where a line begins above its "
        "grey null, training has put more into those directions than chance would put into any; a line that follows "
        "its null is indistinguishable from noise of the same size. Few values above the null and a bulk below it: the "
        "change is nearly of low rank, and a LoRA of that rank could hold most of it. Compare shapes inside a panel; "
        "absolute heights also depend on step size and training time."
    ),
    source=(HU_2021, BENAYCH_GEORGES_2012),
    example=_example,
)
