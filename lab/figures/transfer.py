"""Zero-shot transfer between tasks: one matrix per method, relative to training on the target itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, plain
from lab.statistics.transfer import with_ratio

_COLUMNS = {
    "label": Column("method, and how its head is treated", TEXT),
    "source": Column("task trained on", TEXT),
    "target": Column("task evaluated on, without training", TEXT),
    "source_type": Column("type of the task trained on", TEXT),
    "target_type": Column("type of the task evaluated on", TEXT),
    "score": Column("validation score on the target", "unit of the metric"),
    "own": Column("validation score of the same method trained on the target", "unit of the metric"),
    "relative": Column("(score − chance)/(own − chance); empty where the target was not learned", "1"),
}


def _tasks(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Tasks in the order of their types, and the type of each."""
    ends = [table[[end, f"{end}_type"]].set_axis(["task", "type"], axis=1) for end in ("source", "target")]
    both = pd.concat(ends).drop_duplicates("task")
    types = list(dict.fromkeys(both.type))
    both = both.sort_values("type", key=lambda column: column.map(types.index), kind="stable")
    return list(both.task), list(both.type)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    tasks, types = _tasks(table)
    columns = min(2, len(labels))
    rows = -(-len(labels) // columns)
    height = rows * (130 + 46 * len(tasks))
    figure = make_subplots(
        rows, columns, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.04, vertical_spacing=40 / height,
        subplot_titles=[plain(label) for label in labels],
    )  # fmt: skip
    figure.update_annotations(font=None)
    scale = [[i / 10, colour] for i, colour in enumerate(theme.depths(11))]
    bar = {"title": {"text": "relative<br>transfer [1]"}, "tickvals": [0, 0.5, 1], "ticktext": ["≤ 0", "0.5", "≥ 1"]}
    for i, label in enumerate(labels):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        _panel(figure, table[table.label == label], tasks, {"colorscale": scale, "colorbar": bar}, i == 0, place)
        for k in range(1, len(tasks)):
            if types[k] != types[k - 1]:
                line = {"color": theme.background, "width": 4}
                figure.add_vline(x=k - 0.5, line=line, **place)
                figure.add_hline(y=k - 0.5, line=line, **place)
    names = [plain(task) for task in tasks]
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, showgrid=False, tickangle=-90)
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, showgrid=False, autorange="reversed")
    for column in range(1, columns + 1):
        last = max(i // columns + 1 for i in range(len(labels)) if i % columns + 1 == column)
        figure.update_xaxes(title_text="evaluated on [task]", showticklabels=True, row=last, col=column)
    figure.update_yaxes(title_text="trained on [task]", col=1)
    if len(labels) % columns:
        figure.update_xaxes(visible=False, row=rows, col=columns)
        figure.update_yaxes(visible=False, row=rows, col=columns)
    figure.update_layout(height=height)
    return figure


def _panel(
    figure: go.Figure,
    part: pd.DataFrame,
    tasks: list[str],
    colours: dict[str, object],
    bar: bool,
    place: dict[str, int],
) -> None:
    """One method: colour and number are relative transfer, the cursor tells the scores; several seeds are averaged."""
    means = with_ratio(part).groupby(["source", "target"])[["relative", "score", "own", "ratio"]].mean()
    grid = means.reindex(pd.MultiIndex.from_product([tasks, tasks], names=["source", "target"]))
    n = len(tasks)
    names = ("relative", "score", "own", "ratio")
    relative, score, own, ratio = (grid[name].to_numpy(float).reshape(n, n) for name in names)
    words = [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in relative]
    figure.add_heatmap(
        x=list(range(n)), y=list(range(n)), z=relative, zmin=0, zmax=1, text=words, texttemplate="%{text}",
        xgap=1, ygap=1, showscale=bar, customdata=np.stack([score, own, ratio], axis=-1), hoverongaps=False,
        hovertemplate="trained on %{y}, evaluated on %{x}<br>score %{customdata[0]:.3f}, trained there "
        "%{customdata[1]:.3f}<br>relative %{z:.2f}, score/own %{customdata[2]:.2f}<extra></extra>", **colours, **place,
    )  # fmt: skip


def _means(part: pd.DataFrame, column: str = "relative") -> tuple[float, float]:
    """Mean relative transfer (or another column) to other tasks of the same type, and of other types."""
    off = part[part.source != part.target]
    inside = off.source_type == off.target_type
    return float(off[column][inside].mean()), float(off[column][~inside].mean())


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for label, part in table.groupby("label", sort=False):
        inside, across = _means(part)
        row = {"method": label, "inside types [1]": inside, "across types [1]": across}
        ratios = _means(with_ratio(part), "ratio")
        row |= dict(zip(("score/own inside [1]", "score/own across [1]"), ratios, strict=True))
        rows.append(row | {"own score": part.score[part.source == part.target].mean()})
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    def told(value: float) -> str:
        return "unknown" if np.isnan(value) else f"{value:.2f}"

    parts = [
        f"{row['method']} {told(row['inside types [1]'])} inside types and {told(row['across types [1]'])} across"
        for row in _summary(table).to_dict("records")
    ]
    return f"Mean transfer to other tasks, 1 being training on the target and 0 chance: {'; '.join(parts)}."


def _example() -> pd.DataFrame:
    """Made-up transfer of two methods and the probe between two types of tasks."""
    types = {"reviews": "sentiment", "films": "sentiment", "order": "form", "topics": "pairs"}
    rows = []
    for label, level in (("LoRA", 0.9), ("prompt", 0.7), ("linear probe", 0.4)):
        for i, (source, source_type) in enumerate(types.items()):
            for j, (target, target_type) in enumerate(types.items()):
                relative = 1.0 if i == j else level - 0.1 * abs(i - j) if source_type == target_type else 0.1 * (i - j)
                own = 0.8 - 0.05 * j
                rows.append(
                    {"label": label, "source": source, "target": target, "source_type": source_type,
                     "target_type": target_type, "own": own, "score": 0.5 + relative * (own - 0.5),
                     "relative": relative}
                )  # fmt: skip
    return pd.DataFrame(rows)


TRANSFER = Figure(
    name="transfer",
    title="Transfer between tasks",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Zero-shot transfer of each method: a delta trained on the task of the row, evaluated on the task of the "
        "column without further training, relative to the same method trained there (1) and to chance (0). Gaps "
        "separate types of tasks."
    ),
    reading=(
        "The diagonal is 1 by definition. A bright block on the diagonal says that tasks of one type can use each "
        "other's deltas. Numbers below 0 are worse than always answering the more frequent class: across types the two "
        "classes need not mean alike, so a delta may know the difference and give it the wrong sign. Cells are empty "
        "where the method learned next to nothing on the target, so that a share of it means nothing. Compare with the "
        "linear probe: what it transfers, the frozen features share already."
    ),
    source=(DING_2022,),
    example=_example,
)
