"""What each delta method reaches: every seed, mean and interval per task, and the mean rank over tasks."""

from __future__ import annotations

from math import inf

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.grammar import around
from lab.figures.sources import DEMSAR_2006, DING_2022
from lab.figures.style import Theme, count, counted, fade, plain, score_title
from lab.statistics import mean_interval
from lab.statistics.ranking import ordered, ranked

_COLUMNS = {
    "label": Column("method, as the axis shall say it", TEXT),
    "kind": Column("full, delta, or null (nothing but the head is trained)", TEXT),
    "task": Column("task", TEXT),
    "seed": Column("seed of the run", "count"),
    "score": Column("validation score after the last step", "unit of the metric"),
    "tunable": Column("trained parameters d", "count"),
}
_OPTIONAL = {"metric": Column("name of the metric that score is in", TEXT)}


def kind_colours(theme: Theme) -> dict[str, str]:
    """Colour of each kind of method, the same in all figures that compare methods."""
    return {"full": theme.colour(1), "delta": theme.colour(0), "combination": theme.colour(2), "null": theme.muted}


_NAMES = {"full": "full fine-tuning", "delta": "delta method", "null": "null: the head alone"}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels, tasks = ordered(table), list(dict.fromkeys(table.task))
    panels = [*tasks, None]
    rows = -(-len(panels) // 2)
    height = rows * (90 + 21 * len(labels))
    titles = [plain(task) if task is not None else "all tasks" for task in panels]
    figure = make_subplots(
        rows, 2, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=110 / height,
        subplot_titles=titles,
    )  # fmt: skip
    figure.update_annotations(font=None)
    kinds = table.drop_duplicates("label").set_index("label")["kind"]
    for i, task in enumerate(panels):
        place = {"row": i // 2 + 1, "col": i % 2 + 1}
        if task is None:
            _ranks(figure, table, kinds, theme, place)
            continue
        part = table[table.task == task]
        for label in labels:
            _method(figure, part[part.label == label], theme, place)
        null = part.score[part.kind == "null"].mean()
        if np.isfinite(null):
            figure.add_vline(x=null, line={"color": theme.muted, "dash": "dash", "width": 1}, **place)
        title = score_title(part.metric if "metric" in part else [])
        figure.update_xaxes(title_text=title, range=around(part.score), **place)
    order = [plain(label) for label in reversed(labels)]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order, range=[-0.6, len(order) - 0.4])
    for kind in [kind for kind in _NAMES if (table.kind == kind).any()]:
        marker = {"color": kind_colours(theme)[kind], "size": 8}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=_NAMES[kind], marker=marker, row=1, col=1)
    figure.update_layout(height=height)
    return figure


def _method(figure: go.Figure, part: pd.DataFrame, theme: Theme, place: dict[str, int]) -> None:
    """The seeds as small points, their mean with its 95 % interval (from two seeds on)."""
    if part.empty:
        return
    colour, name = kind_colours(theme).get(part.kind.iloc[0], theme.ink), plain(part.label.iloc[0])
    found = mean_interval(list(part.score))
    half = found.high - found.estimate if found.n > 1 else 0.0
    size = f"{count(part.tunable.mean())} tunable"
    figure.add_scatter(
        x=part.score, y=[name] * len(part), mode="markers", showlegend=False, customdata=part.seed,
        marker={"color": fade(colour, 0.45), "size": 6},
        hovertemplate="%{x:.3f}, seed %{customdata}<extra>" + name + "</extra>", **place,
    )  # fmt: skip
    figure.add_scatter(
        x=[found.estimate], y=[name], mode="markers", showlegend=False,
        marker={"color": colour, "size": 9, "symbol": "line-ns", "line": {"color": colour, "width": 2.5}},
        error_x={"type": "data", "array": [half], "color": colour, "thickness": 1.6, "width": 0},
        hovertemplate=f"mean %{{x:.3f}} ± {half:.3f}, {counted(found.n, 'seed')}<br>{size}<extra>{name}</extra>",
        **place,
    )  # fmt: skip


def _ranks(figure: go.Figure, table: pd.DataFrame, kinds: pd.Series, theme: Theme, place: dict[str, int]) -> None:
    """Mean ranks; bars of half a critical difference to either side: methods differ where their bars do not overlap."""
    complete = table.pivot_table(index="task", columns="label", values="score").notna().all()
    ranking = ranked(table) if complete.any() else None
    ranks = {} if ranking is None else ranking.mean_ranks
    half = ranking.critical_difference / 2 if ranking is not None and ranking.critical_difference < inf else 0.0
    for label, rank in ranks.items():
        colour = kind_colours(theme).get(kinds[label], theme.ink)
        figure.add_scatter(
            x=[rank], y=[plain(label)], mode="markers", showlegend=False, marker={"color": colour, "size": 8},
            error_x={"type": "data", "array": [half], "color": fade(colour, 0.55), "thickness": 1.6, "width": 0},
            hovertemplate=f"mean rank %{{x:.2f}}<extra>{plain(label)}</extra>", **place,
        )  # fmt: skip
    ends = [max(ranks.values(), default=1) + 0.6, 0.4]  # the best on the right, as in the other panels
    title = "mean rank ± half a critical difference [rank]"
    figure.update_xaxes(title_text=title, range=ends, tick0=1, dtick=1 if len(ranks) < 8 else 2, **place)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    complete = table.pivot_table(index="task", columns="label", values="score").notna().all()
    ranks = ranked(table).mean_ranks if complete.any() else {}
    rows = []
    for label in ordered(table):
        part = table[table.label == label]
        row = {"method": label, "mean rank": ranks.get(str(label), np.nan), "tunable [count]": part.tunable.mean()}
        for task in dict.fromkeys(table.task):
            scores = list(part.score[part.task == task])
            found = mean_interval(scores) if scores else None
            row[str(task)] = np.nan if found is None else found.estimate
            row[f"{task} ±"] = np.nan if found is None or found.n < 2 else found.high - found.estimate
        rows.append(row | {"seeds [count]": int(part.seed.nunique())})
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    means = table.groupby("label", sort=False)["score"].mean()
    best = ", ".join(f"{label} {means[label]:.3f}" for label in ordered(table)[:3])
    null = table.score[table.kind == "null"].mean()
    beside = f" The linear probe reaches {null:.3f}." if np.isfinite(null) else ""
    complete = table.pivot_table(index="task", columns="label", values="score").notna().all()
    told = f" {ranked(table).told}" if complete.any() else ""
    return f"Best mean ranks, with mean validation score: {best}.{beside}{told}"


def _example() -> pd.DataFrame:
    """Made-up scores of six methods on three tasks, three seeds each."""
    rows = []
    methods = (
        ("full fine-tuning", "full", 22_713_986, 0.90), ("LoRA", "delta", 74_498, 0.88),
        ("adapter", "delta", 595_970, 0.87), ("prefix", "delta", 23_810, 0.80), ("prompt", "delta", 8450, 0.70),
        ("linear probe", "null", 770, 0.66),
    )  # fmt: skip
    for t, task in enumerate(("topic", "sentiment", "drugs")):
        for m, (label, kind, tunable, level) in enumerate(methods):
            for seed in range(3):
                score = level - 0.08 * t + 0.02 * np.cos(5 * seed + 3 * m + t)
                rows.append(
                    {"label": label, "kind": kind, "task": task, "seed": seed, "score": score, "tunable": tunable,
                     "metric": "accuracy"}
                )  # fmt: skip
    return pd.DataFrame(rows)


PERFORMANCE = Figure(
    name="performance",
    title="Performance of the methods",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Validation score of each method after the same number of steps, one panel per task: every seed (points), "
        "mean and 95 % interval over seeds (bar; that of two seeds may leave the panel); dashed, the linear "
        "probe. Last panel: mean rank over tasks, with half of Nemenyi's critical difference (95 %) to either "
        "side."
    ),
    reading=(
        "Methods stand from the best mean rank (top) to the worst. In a task's panel, intervals that do not overlap "
        "mean that other seeds would hardly change the order on this task; a method at the dashed line adds nothing to "
        "training the head alone. In the panel of ranks, methods differ where their bars do not overlap: with few "
        "tasks the bars are long, and the honest answer about other tasks is that one cannot tell. All methods had the "
        "same budget of steps; methods that need longer are seen at a disadvantage."
    ),
    source=(DING_2022, DEMSAR_2006),
    example=_example,
)
