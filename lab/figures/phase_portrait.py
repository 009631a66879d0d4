"""Where hidden states go, layer by layer: without delta, with it, and under full fine-tuning."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure, TableError
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns(
    "phase_portrait", "label", "model", "task", "block", "kind", "example", "class", "x", "y", "explained"
)
_KINDS = {
    "base": ("{}-open", "without delta"),
    "controlled": ("{}", "with delta"),
    "target": ("{}-open-dot", "full fine-tuning"),
}
_MOST_PANELS = 6


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Six panels at most, shared among the runs: of each the last block, and earlier ones where there is room."""
    grid = Grid(theme, wrap=3, height=300)
    runs, classes = split(table, "label", "model", "task"), sorted(table["class"].unique())
    for name, part in runs:
        for block in _shown(sorted(part.block.unique()), max(1, _MOST_PANELS // len(runs))):
            own = part[part.block == block]
            lead = f"{name} · " if len(runs) > 1 else ""
            panel = grid.panel(f"{lead}block {block:g}, {own.explained.iloc[0]:.0%}")
            for kind in classes:
                _class(panel, own[own["class"] == kind], str(kind))
    return grid.x("axis 1 [1]").y("axis 2 [1]")


def _shown(blocks: list[float], most: int) -> list[float]:
    """At most so many blocks, evenly spaced, the last one always and the first where there are several."""
    if len(blocks) <= most:
        return blocks
    return [blocks[round(i)] for i in np.linspace(len(blocks) - 1, 0, most)][::-1]


def _class(panel: Panel, part: pd.DataFrame, name: str) -> None:
    """Lines from base to controlled, one per sentence; then the points."""
    colour, shape = panel.grid.colour(name), panel.grid.symbol(name)
    moved = part[part.kind.isin(["base", "controlled"])].sort_values(["example", "kind"])
    ways = [(*zip(s.x, s.y, strict=True), (None, None)) for _, s in moved.groupby("example")]
    x, y = ([point[axis] for way in ways for point in way] for axis in (0, 1))
    if x:
        panel.line(x, y, name, colour=colour, width=1, opacity=0.45, listed=False)
    for kind, (symbol, word) in _KINDS.items():
        own, hover = part[part.kind == kind], "%{x:.3g}, %{y:.3g}"
        if len(own):
            edge, width = colour, 1.2
            panel.points(
                own.x,
                own.y,
                name,
                colour=colour,
                symbol=symbol.format(shape),
                size=7,
                hover=hover,
                edge=edge,
                edge_width=width,
                key=word,
            )


def _answer(table: pd.DataFrame) -> Answer:
    """Per run and block, in the drawn plane: how far states move, and how well classes come apart.

    Separation is the variance between the classes' means over the whole variance, η² in [0, 1].
    """
    unknown = set(table.kind) - set(_KINDS)
    if unknown:
        raise TableError(f"kind must be one of {', '.join(_KINDS)}; got {', '.join(sorted(map(str, unknown)))}")
    rows, told = [], []
    for name, part in split(table, "label", "model", "task"):
        for block, states in part.groupby("block"):
            points = {str(kind): group.sort_values("example") for kind, group in states.groupby("kind")}
            row = {"method": name, "block": block, "moved [1]": _distance(points, "base", "controlled")}
            row |= {"from the target [1]": _distance(points, "controlled", "target")}
            apart = {kind: _separation(points[kind]) for kind in _KINDS if kind in points}
            rows.append(row | {f"η² {_KINDS[kind][1]}": value for kind, value in apart.items()})
        word = ", ".join(f"{_KINDS[kind][1]} {value:.2f}" for kind, value in apart.items())
        told.append(f"{name}: {word}")
    return Answer(
        listed("Share η² of the plane's variance that lies between classes, last block", told), pd.DataFrame(rows)
    )


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


def _example() -> pd.DataFrame:
    """Made-up states: two classes that the delta pulls apart, more in the later block, and a target further on."""
    rows = []
    for block in (0, 1):
        for example in range(6):
            side = 1 if example % 2 else -1
            for kind, pull in (("base", 0.0), ("controlled", 1.0), ("target", 1.5)):
                x = 0.4 * np.sin(3 * example) + side * pull * (block + 1)
                where = (example, ("sport", "tech")[example % 2], x, 0.5 * np.cos(2 * example), 0.8)
                rows.append(("LoRA", "minilm", "bbc-news", block, kind, *where))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


PHASE_PORTRAIT = Figure(
    name="phase_portrait",
    title="Phase portrait of the hidden states",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=3,
    conclude=_answer,
    caption=(
        "Hidden states at the position the head reads, after each block, for the sentences of one batch: without delta "
        "(open), with the trained delta (filled) and under full fine-tuning (open, with a dot): six blocks of one run, "
        "or fewer of each of several, the last one always. Every panel shows the two main axes of its own layer's "
        "states; the title gives the share of variance they hold; colour is the class."
    ),
    reading=(
        "Lines lead from where a sentence's state was to where the delta takes it. Control that pulls classes apart in "
        "early blocks steers the whole chain; control that does so in the last block only acts like a better head. "
        "Points of one panel can be compared, points of different panels cannot: each layer has its own axes, and what "
        "happens outside the plane is not shown. These are training sentences."
    ),
    source=(DING_2022,),
    example=_example,
)
