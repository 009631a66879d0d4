"""Training minus validation score of each method against its tunable parameters, beside the shape of √(d/n)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.performance import around
from lab.figures.sources import AGHAJANYAN_2020, ARORA_2018, DING_2022
from lab.figures.style import SYMBOLS, Theme, count, counted, fade, plain, score_title
from lab.statistics import mean_interval, rank_correlation_interval

_COLUMNS = {
    "label": Column("method, as the legend shall say it", TEXT),
    "kind": Column("full, delta, combination, or null (nothing but the head is trained)", TEXT),
    "task": Column("task", TEXT),
    "seed": Column("seed of the run", "count"),
    "gap": Column("score on training examples minus score on validation examples", "unit of the metric"),
    "tunable": Column("trained parameters d", "count"),
    "bound": Column("√((d ln r + ln 1/δ)/(2n)), what the gap stays below with probability 1 − δ", "unit of the metric"),
}
_OPTIONAL = {"metric": Column("name of the metric that gap is in", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    tasks, labels = list(dict.fromkeys(table.task)), list(dict.fromkeys(table.label))
    columns = min(2, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = make_subplots(
        rows, columns, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.3 / rows,
        subplot_titles=[plain(task) for task in tasks],
    )  # fmt: skip
    figure.update_annotations(font=None)
    kinds = table.drop_duplicates("label").set_index("label")["kind"]
    coloured = [label for label in labels if kinds[label] not in ("full", "null")]
    places = {label: coloured.index(label) if label in coloured else 0 for label in labels}
    for i, task in enumerate(tasks):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        part = table[table.task == task]
        _shape(figure, part, theme, place)
        for label in labels:
            _method(figure, part[part.label == label], theme, places[label], place)
        figure.update_xaxes(title_text="tunable parameters d [count]", type="log", dtick=1, **place)
        figure.update_xaxes(exponentformat="power", **place)
        if place["col"] == 1:
            metric = score_title(part.metric if "metric" in part else [])
            figure.update_yaxes(title_text=f"gap in {metric}", **place)
    figure.update_yaxes(range=around(table.gap))
    _keys(figure, table, theme, places)
    figure.update_layout(height=400 if rows == 1 else 330 * rows)
    return figure


def _shape(figure: go.Figure, part: pd.DataFrame, theme: Theme, place: dict[str, int]) -> None:
    """The zero line, and the shape √d through the gap of full fine-tuning; the bound itself lies far above."""
    figure.add_hline(y=0, line={"color": theme.muted, "width": 1}, **place)
    full = part[part.kind == "full"]
    if full.empty or not full.gap.mean() > 0:
        return
    d = np.geomspace(max(1.0, float(part.tunable.min())), float(part.tunable.max()), 60)
    figure.add_scatter(
        x=d, y=full.gap.mean() * np.sqrt(d / full.tunable.mean()), showlegend=False, hoverinfo="skip",
        mode="lines", line={"color": theme.muted, "dash": "dash", "width": 1.5}, **place,
    )  # fmt: skip


def _method(figure: go.Figure, part: pd.DataFrame, theme: Theme, i: int, place: dict[str, int]) -> None:
    """The seeds as faint points, their mean with its 95 % interval (from two seeds on)."""
    if part.empty:
        return
    look, name = _look(part.kind.iloc[0], theme, i), plain(part.label.iloc[0])
    found = mean_interval(list(part.gap))
    half = found.high - found.estimate if found.n > 1 else 0.0
    figure.add_scatter(
        x=part.tunable, y=part.gap, mode="markers", showlegend=False, legendgroup=name, customdata=part.seed,
        marker={"color": fade(str(look["color"]), 0.35), "size": 5, "symbol": look["symbol"]},
        hovertemplate="%{y:+.3f}, seed %{customdata}<extra>" + name + "</extra>", **place,
    )  # fmt: skip
    figure.add_scatter(
        x=[part.tunable.mean()], y=[found.estimate], mode="markers", showlegend=False, legendgroup=name,
        marker=look | {"size": 9},
        error_y={"type": "data", "array": [half], "color": look["color"], "thickness": 1.4, "width": 0},
        hovertemplate=f"gap %{{y:+.3f}} ± {half:.3f}, {counted(found.n, 'seed')}<br>d = {count(part.tunable.mean())}"
        f"<br>bound {part.bound.mean():.3g}<extra>{name}</extra>", **place,
    )  # fmt: skip


def _look(kind: str, theme: Theme, i: int) -> dict[str, object]:
    """Full fine-tuning and the null without colour; deltas by palette and symbol, combinations hollow."""
    if kind in ("full", "null"):
        return {"color": theme.ink if kind == "full" else theme.muted, "symbol": "star" if kind == "full" else "x"}
    return {"color": theme.colour(i), "symbol": SYMBOLS[i % 6] + ("-open" if kind == "combination" else "")}


def _keys(figure: go.Figure, table: pd.DataFrame, theme: Theme, places: dict[str, int]) -> None:
    kinds = table.drop_duplicates("label").set_index("label")["kind"]
    for label, i in places.items():
        figure.add_scatter(
            x=[None], y=[None], name=plain(label), legendgroup=plain(label), mode="markers",
            marker=_look(kinds[label], theme, i) | {"size": 8}, row=1, col=1,
        )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], name="shape of √(d/n)", mode="lines", row=1, col=1,
        line={"color": theme.muted, "dash": "dash", "width": 1.5},
    )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for label, part in table.groupby("label", sort=False):
        row = {"method": label, "tunable [count]": part.tunable.mean(), "gap": part.gap.mean()}
        row |= {"smallest gap": part.gap.min(), "largest gap": part.gap.max(), "bound": part.bound.mean()}
        rows.append(row | {"runs [count]": len(part)})
    return pd.DataFrame(rows).sort_values("gap", ascending=False, kind="stable", ignore_index=True)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    parts = [f"{row['method']} {row['gap']:+.3f}" for row in found.to_dict("records")]
    said = "; ".join(parts if len(parts) <= 6 else [*parts[:3], "…", *parts[-3:]])
    text = f"Mean generalisation gap, largest first: {said}."
    trained = found[found.method.isin(table.label[table.kind != "null"])]
    if len(trained) > 3:
        rho = rank_correlation_interval(list(trained["tunable [count]"]), list(trained.gap))
        text += f" Rank correlation with d: {rho.estimate:+.2f} [{rho.low:+.2f}, {rho.high:+.2f}]."
    return text + f" The smallest bound is {table.bound.min():.3g}."


def _example() -> pd.DataFrame:
    """Made-up gaps of five methods on two tasks, three seeds each."""
    rows = []
    methods = (
        ("full fine-tuning", "full", 22_713_986, 0.20), ("adapter", "delta", 595_970, 0.14),
        ("LoRA", "delta", 74_498, 0.12), ("prompt", "delta", 8450, 0.03), ("linear probe", "null", 770, 0.02),
        ("LoRA + BitFit", "combination", 101_380, 0.15),
    )  # fmt: skip
    for t, task in enumerate(("topic", "sentiment")):
        for label, kind, tunable, level in methods:
            for seed in range(3):
                gap = level * (1 - 0.4 * t) + 0.015 * np.cos(5 * seed + tunable)
                rows.append(
                    {"label": label, "kind": kind, "task": task, "seed": seed, "gap": gap, "tunable": tunable,
                     "bound": np.sqrt((tunable * np.log(2**16) + np.log(20)) / 512), "metric": "accuracy"}
                )  # fmt: skip
    return pd.DataFrame(rows)


GENERALIZATION_GAP = Figure(
    name="generalization_gap",
    title="Generalisation gap of the methods",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Score on training examples minus score on validation examples after the last step, against the number of "
        "tunable parameters: every seed (faint), mean and 95 % interval over seeds (that of two may leave the "
        "panel), one panel per task. Dashed: the shape √d of the bound, scaled through full fine-tuning."
    ),
    reading=(
        "Higher means that a method fits its training examples better than new ones. If the bound told the gap, the "
        "points would follow the dashed line; points off it say that something other than the number of parameters "
        "decides. Only the shape of the bound is drawn: the bound itself, in the table and under the cursor, exceeds 1 "
        "and so says nothing for every method with more than a few dozen parameters. A small gap is no merit by "
        "itself: a method that has learned nothing has none, so look at its score too."
    ),
    source=(DING_2022, AGHAJANYAN_2020, ARORA_2018),
    example=_example,
)
