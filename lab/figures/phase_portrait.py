"""Where hidden states go, layer by layer: without delta, with it, and under full fine-tuning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import runs_of
from lab.figures.definition import TEXT, Column, Figure, TableError
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, fade, plain

_COLUMNS = {
    "label": Column("the method", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "block": Column("block whose output it is", "count"),
    "kind": Column("base, controlled or target", TEXT),
    "example": Column("number of the sentence in the batch", "count"),
    "class": Column("class of the sentence", TEXT),
    "x": Column("first principal axis of the layer's states", "1"),
    "y": Column("second principal axis", "1"),
    "explained": Column("share of the variance on both axes", "1"),
}
_SYMBOLS = {"base": "circle-open", "controlled": "circle", "target": "x-thin"}
_MOST_PANELS = 8


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    runs = runs_of(table)
    blocks = _shown(table)
    columns = min(len(blocks), 3 if len(blocks) <= 6 else 4)
    per_run = -(-len(blocks) // columns)
    rows = per_run * len(runs)
    titles = []
    for name, part in runs.items():
        for i in range(per_run * columns):
            if i >= len(blocks):
                titles.append("")
                continue
            share = part[part.block == blocks[i]].explained
            lead = f"{plain(name)} · " if len(runs) > 1 else ""
            titles.append(f"{lead}block {blocks[i]:g}, {share.iloc[0]:.0%}" if len(share) else "")
    figure = make_subplots(
        rows, columns, subplot_titles=titles, horizontal_spacing=0.07, vertical_spacing=min(0.14, 0.34 / rows)
    )
    figure.update_annotations(font=None)
    classes = sorted(table["class"].unique())
    colours = {name: theme.colour(i) for i, name in enumerate(classes)}
    for k, part in enumerate(runs.values()):
        for i, block in enumerate(blocks):
            place = {"row": k * per_run + i // columns + 1, "col": i % columns + 1}
            _panel(figure, part[part.block == block], colours, theme, place)
            figure.update_xaxes(title_text="axis 1 [1]" if i // columns == per_run - 1 else None, **place)
            figure.update_yaxes(title_text="axis 2 [1]" if i % columns == 0 else None, **place)
    _keys(figure, colours, table, theme)
    figure.update_layout(height=340 if rows == 1 else 250 * rows)
    return figure


def _shown(table: pd.DataFrame) -> list[float]:
    """At most eight blocks, evenly spaced, the first and the last among them."""
    blocks = sorted(table.block.unique())
    if len(blocks) <= _MOST_PANELS:
        return blocks
    return [blocks[round(i)] for i in np.linspace(0, len(blocks) - 1, _MOST_PANELS)]


def _panel(figure: go.Figure, part: pd.DataFrame, colours: dict[str, str], theme: Theme, place: dict[str, int]) -> None:
    """Arrows from base to controlled, one per sentence; then the points."""
    moved = part[part.kind.isin(["base", "controlled"])].sort_values(["example", "kind"])
    for name in colours:
        group = moved[moved["class"] == name]
        xs: list[float | None] = []
        ys: list[float | None] = []
        for _, sentence in group.groupby("example"):
            xs += [*sentence.x, None]
            ys += [*sentence.y, None]
        figure.add_scatter(
            x=xs, y=ys, mode="lines", line={"color": fade(colours[name], 0.45), "width": 1}, showlegend=False,
            hoverinfo="skip", **place,
        )  # fmt: skip
    width = {"width": 1.2}
    for kind, symbol in _SYMBOLS.items():
        for name in colours:
            group = part[(part.kind == kind) & (part["class"] == name)]
            if group.empty:
                continue
            figure.add_scatter(
                x=group.x, y=group.y, mode="markers", showlegend=False,
                marker={"symbol": symbol, "size": 7, "color": colours[name], "line": {"color": colours[name], **width}},
                hovertemplate=f"{plain(name)}, {kind}<br>%{{x:.3g}}, %{{y:.3g}}<extra></extra>", **place,
            )  # fmt: skip


def _keys(figure: go.Figure, colours: dict[str, str], table: pd.DataFrame, theme: Theme) -> None:
    for kind, symbol in _SYMBOLS.items():
        if (table.kind == kind).any():
            word = {"base": "without delta", "controlled": "with delta", "target": "full fine-tuning"}[kind]
            marker = {"symbol": symbol, "size": 8, "color": theme.ink, "line": {"color": theme.ink, "width": 1.5}}
            figure.add_scatter(x=[None], y=[None], mode="markers", name=word, marker=marker, row=1, col=1)
    for name, colour in colours.items():
        figure.add_scatter(
            x=[None], y=[None], mode="lines", name=plain(name), line={"color": colour, "width": 4}, row=1, col=1
        )


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per run and block, in the drawn plane: how far states move, and how well classes come apart.

    Separation is the variance between the classes' means over the whole variance, η² in [0, 1].
    """
    unknown = set(table.kind) - set(_SYMBOLS)
    if unknown:
        raise TableError(f"kind must be one of {', '.join(_SYMBOLS)}; got {', '.join(sorted(map(str, unknown)))}")
    rows = []
    for name, part in runs_of(table).items():
        for block, states in part.groupby("block"):
            points = {str(kind): group.sort_values("example") for kind, group in states.groupby("kind")}
            row = {"method": name, "block": block, "moved [1]": _distance(points, "base", "controlled")}
            row |= {"from the target [1]": _distance(points, "controlled", "target")}
            row |= {f"separation, {kind}": _separation(points[kind]) for kind in _SYMBOLS if kind in points}
            rows.append(row)
    return pd.DataFrame(rows)


def _distance(points: dict[str, pd.DataFrame], a: str, b: str) -> float:
    if a not in points or b not in points or len(points[a]) != len(points[b]):
        return float("nan")
    gap = points[a][["x", "y"]].to_numpy() - points[b][["x", "y"]].to_numpy()
    return float(np.sqrt((gap**2).sum(1)).mean())


def _separation(states: pd.DataFrame) -> float:
    xy = states[["x", "y"]]
    whole = float(((xy - xy.mean()) ** 2).to_numpy().sum())
    means = xy.groupby(states["class"]).transform("mean")
    return float(((means - xy.mean()) ** 2).to_numpy().sum()) / whole if whole > 0 else float("nan")


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    sentences = []
    for name, part in found.groupby("method", sort=False):
        last = part.iloc[-1]
        words = [
            f"{kind} {last[column]:.2f}"
            for kind in _SYMBOLS
            if (column := f"separation, {kind}") in part and last[column] == last[column]
        ]
        sentences.append(f"{name}, last block: share of the plane's variance between classes {', '.join(words)}.")
    return "Hidden states where the head reads them, before and after control. " + " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up states: two classes that the delta pulls apart, more in the later block, and a target further on."""
    rows = []
    for block in (0, 1):
        for example in range(6):
            side = 1 if example % 2 else -1
            for kind, pull in (("base", 0.0), ("controlled", 1.0), ("target", 1.5)):
                x = 0.4 * np.sin(3 * example) + side * pull * (block + 1)
                rows.append(("LoRA", "minilm", "bbc-news", block, kind, example, ("sport", "tech")[example % 2], x,
                             0.5 * np.cos(2 * example), 0.8))  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


PHASE_PORTRAIT = Figure(
    name="phase_portrait",
    title="Phase portrait of the hidden states",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=3,
    summary=_summary,
    describe=_describe,
    caption=(
        "Hidden states at the position the head reads, after each block, for the sentences of one batch: without delta "
        "(open), with the trained delta (filled) and under full fine-tuning (crosses). Every panel shows the two main "
        "axes of its own layer's states; the title gives the share of variance they hold; colour is the class."
    ),
    reading=(
        "Lines lead from where a sentence's state was to where the delta takes it. Control that pulls classes apart in "
        "early blocks steers the whole chain; control that does so in the last block only acts like a better head. "
        "Points of one panel compare, points of different panels do not: each layer has its own axes, and what happens "
        "outside the plane is not seen. These are training sentences."
    ),
    source=(DING_2022,),
    example=_example,
)
