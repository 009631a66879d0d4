"""The loss on planes: contours with the trajectory on top, and the same as a surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import GARIPOV_2018, LI_2018_VISUALIZING
from lab.figures.style import Theme, plain

_COLUMNS = {
    "label": Column("method or methods", TEXT),
    "plane": Column("how the plane was chosen", TEXT),
    "kind": Column("grid, path (the trajectory) or point", TEXT),
    "alpha": Column("coordinate along the first direction", "1"),
    "beta": Column("coordinate along the second direction", "1"),
    "loss": Column("loss of the batch there", "nats"),
}
_OPTIONAL = {"name": Column("name of a point; number of a point of the path", TEXT)}

_SIDE_BY_SIDE = 3


class _Plane(NamedTuple):
    """One plane: its rows, what is drawn alike on all planes, and the column of subplots it stands in."""

    part: pd.DataFrame
    theme: Theme
    limits: tuple[float, float]
    column: int
    first: bool

    @property
    def grid(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Axes and log10 of the loss, beta by alpha."""
        wide = self.part[self.part.kind == "grid"].pivot_table(index="beta", columns="alpha", values="loss")
        with np.errstate(divide="ignore", invalid="ignore"):
            return wide.columns.to_numpy(float), wide.index.to_numpy(float), np.log10(wide.to_numpy(float))

    @property
    def colours(self) -> list[list[object]]:
        return [[i / 8, colour] for i, colour in enumerate(self.theme.depths(9))]


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Each plane as contours and, below them, as a surface; one colour scale."""
    drawn = table.drop_duplicates(["label", "plane"])
    many = drawn.groupby("label").plane.transform("size")  # those with most planes first, so that rows hold one label
    drawn = drawn.assign(many=-many).sort_values("many", kind="stable")
    planes = list(zip(drawn.label, drawn.plane, strict=True))
    columns = min(_SIDE_BY_SIDE, len(planes))
    lines = [planes[i : i + columns] for i in range(0, len(planes), columns)]
    height = 460 * len(lines) if columns > 1 else 780
    specs: list[list[dict[str, str] | None]] = []
    titles: list[str] = []
    for line in lines:
        empty = [None] * (columns - len(line))
        specs += [[{"type": kind}] * len(line) + empty for kind in ("xy", "scene")]
        titles += [f"{plain(label)}<br>{plain(plane)}" for label, plane in line] + [""] * len(line)
    figure = make_subplots(
        len(specs), columns, specs=specs, horizontal_spacing=0.2 / columns, vertical_spacing=55 / height,
        subplot_titles=titles,
    )  # fmt: skip
    figure.update_annotations(font=None)
    finite = table.loc[np.isfinite(table.loss) & (table.loss > 0), "loss"]
    low, high = (float(np.log10(finite.min())), float(np.log10(finite.max()))) if len(finite) else (-1.0, 0.0)
    high = max(high, low + 1e-3)
    for i, (label, name) in enumerate(planes):
        part = table[(table.label == label) & (table.plane == name)]
        plane = _Plane(part, theme, (low, high), i % columns + 1, i == 0)
        _contour(figure, plane, 2 * (i // columns) + 1)
        _surface(figure, plane, 2 * (i // columns) + 2)
    return figure.update_layout(height=height)


def _contour(figure: go.Figure, plane: _Plane, row: int) -> None:
    (x, y, z), place = plane.grid, {"row": row, "col": plane.column}
    part, theme, limits = plane.part, plane.theme, plane.limits
    if len(x):
        figure.add_contour(
            x=x, y=y, z=z, zmin=limits[0], zmax=limits[1], colorscale=plane.colours, ncontours=16, showscale=False,
            line={"width": 0.5, "color": theme.background}, hovertemplate="α = %{x:.2f}, β = %{y:.2f}: 10^%{z:.2f}",
            **place,
        )  # fmt: skip
    path = part[part.kind == "path"]
    if len(path):
        figure.add_scatter(
            x=path.alpha, y=path.beta, mode="lines+markers", name="training", legendgroup="training",
            showlegend=plane.first, line={"color": theme.palette[1], "width": 2}, marker={"size": 4},
            customdata=path.loss, hovertemplate="loss %{customdata:.3f}", **place,
        )  # fmt: skip
    points = part[part.kind == "point"]
    if len(points):
        names = points["name"] if "name" in points else pd.Series("", index=points.index)
        figure.add_scatter(
            x=points.alpha, y=points.beta, mode="markers+text", text=[f"<b>{plain(name)}</b>" for name in names],
            textposition="top center", showlegend=False, customdata=points.loss,
            hovertemplate="%{text}: loss %{customdata:.3f}", cliponaxis=False,
            textfont={"color": "#ffffff", "shadow": "0 0 3px #000, 0 0 3px #000"},
            marker={"color": "#ffffff", "size": 9, "symbol": "x", "line": {"color": "#000000", "width": 1}}, **place,
        )  # fmt: skip
    figure.update_xaxes(title_text="α [direction's length]", **place)
    figure.update_yaxes(title_text="β [direction's length]" if plane.column == 1 else None, **place)


def _surface(figure: go.Figure, plane: _Plane, row: int) -> None:
    (x, y, z), place = plane.grid, {"row": row, "col": plane.column}
    part, theme, limits = plane.part, plane.theme, plane.limits
    middle = (limits[1] - limits[0]) / 4
    bar = {
        "title": {"text": "loss [nats]", "side": "top"}, "thickness": 12, "outlinewidth": 0,
        "lenmode": "pixels", "len": 330, "y": 1, "yanchor": "top",
        "tickvals": (ticks := [limits[0] + middle * i for i in range(5)]),
        "ticktext": [f"{10**t:.2g}" for t in ticks],
    }  # fmt: skip
    if len(x):
        figure.add_surface(
            x=x, y=y, z=z, colorscale=plane.colours, cmin=limits[0], cmax=limits[1], showscale=plane.first,
            colorbar=bar, hovertemplate="α = %{x:.2f}, β = %{y:.2f}: 10^%{z:.2f}", **place,
        )  # fmt: skip
    path = part[part.kind == "path"]
    if len(path):
        figure.add_scatter3d(
            x=path.alpha, y=path.beta, z=np.log10(path.loss.clip(lower=1e-12)) + 0.02, mode="lines", showlegend=False,
            line={"color": theme.palette[1], "width": 5}, hoverinfo="skip", **place,
        )  # fmt: skip
    axis = {
        "backgroundcolor": theme.background, "gridcolor": theme.grid, "color": theme.ink, "showspikes": False,
        "nticks": 4,
    }  # fmt: skip
    depth = {**axis, "title": {"text": ""}, "showticklabels": False, "range": [limits[0] - 0.02, limits[1] + 0.05]}
    figure.update_scenes(
        xaxis={**axis, "title": {"text": "α"}}, yaxis={**axis, "title": {"text": "β"}}, zaxis=depth,
        aspectmode="manual", aspectratio={"x": 1, "y": 1, "z": 0.7}, camera={"eye": {"x": 1.35, "y": -1.45, "z": 0.95}},
        **place,
    )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per plane: least and largest loss on the grid, and how many points of it lie above ten times the least."""
    rows = []
    for (label, plane), part in table.groupby(["label", "plane"], sort=False):
        grid = part[part.kind == "grid"] if (part.kind == "grid").any() else part
        least = float(grid.loss.min())
        rows.append(
            {"label": label, "plane": plane, "points [count]": len(grid), "least loss [nats]": least,
             "largest loss [nats]": float(grid.loss.max()), "above ten times the least [share]":
             float((grid.loss > 10 * least).mean())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    return " ".join(
        f"{row['label']}, {row['plane']}: loss from {row['least loss [nats]']:.3g} to "
        f"{row['largest loss [nats]']:.3g} nats on {row['points [count]']} points."
        for _, row in _summary(table).iterrows()
    )


def _example() -> pd.DataFrame:
    """A made-up bowl with a narrow valley, a trajectory and two named points."""
    rows = []
    for label, stiff in (("LoRA r = 8", 4.0), ("BitFit", 1.0)):
        for a in np.linspace(-1, 1, 9):
            for b in np.linspace(-1, 1, 9):
                rows.append((label, "PCA of the trajectory", "grid", a, b, 0.05 + stiff * a**2 + 0.3 * b**2, ""))
        for t in np.linspace(0, 1, 5):
            a, b = 0.8 * (1 - t) ** 2, -0.9 * (1 - t)
            rows.append((label, "PCA of the trajectory", "path", a, b, 0.05 + stiff * a**2 + 0.3 * b**2, str(t)))
        for name, a, b in (("start", 0.8, -0.9), ("solution", 0.0, 0.0)):
            rows.append((label, "PCA of the trajectory", "point", a, b, 0.05 + stiff * a**2 + 0.3 * b**2, name))
    return pd.DataFrame(rows, columns=["label", "plane", "kind", "alpha", "beta", "loss", "name"])


LOSS_PLANE = Figure(
    name="loss_plane",
    title="The loss on planes through φ",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Loss of one fixed batch on two-dimensional planes through each delta's vector: contours with the training "
        "trajectory projected on them, and the same as a surface below; colour and height are the logarithm "
        "of the loss, with one scale for all planes."
    ),
    reading=(
        "Compare planes by how far one must go for the loss to rise: along the stiffest directions a basin is narrow, "
        "along random ones of the weights' own size nearly flat. A trajectory is drawn where it is seen from above; "
        "its points may lie off the plane, and their own loss (on hovering) may differ from the contour below them. "
        "Two dimensions of a random walk already look like a smooth curve, so a smooth path alone shows nothing. A "
        "plane through three solutions shows whether a barrier lies between them."
    ),
    source=(LI_2018_VISUALIZING, GARIPOV_2018),
    example=_example,
)
