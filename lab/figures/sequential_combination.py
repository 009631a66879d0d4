"""Prompt, BitFit and adapter one after the other: the score after each of three stages, for every order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, counted, score_title
from lab.statistics import Answer, mean_interval

_COLUMNS = columns("sequential_combination", "label", "order", "seed", "stage", "score")
_OPTIONAL = columns("sequential_combination", "metric")


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over seeds of each order after each stage: label, order, stage, estimate, low, high, n."""
    rows = []
    for (label, order, stage), part in table.groupby(["label", "order", "stage"], sort=False):
        scores = part.score.astype(float)
        if not np.isfinite(scores).all():
            continue
        found = mean_interval(list(scores))
        rows.append(
            {
                "label": label,
                "order": order,
                "stage": stage,
                "estimate": found.estimate,
                "low": found.low,
                "high": found.high,
                "n": found.n,
            }
        )
    return pd.DataFrame(rows, columns=["label", "order", "stage", "estimate", "low", "high", "n"])


def _rows(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(label, order) -> its line of text, orders by the score of their last stage."""
    found = _means(table)
    last = found.sort_values("stage", kind="stable").groupby(["label", "order"], sort=False).tail(1)
    several = table.label.nunique() > 1
    ordered = last.sort_values(["label", "estimate"], ascending=[True, False], kind="stable")
    pairs = zip(ordered.label, ordered.order, strict=True)
    return {(label, order): f"{label}: {order}" if several else order for label, order in pairs}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    names, found = _rows(table), _means(table)
    grid = Grid(theme, height=60 + 44 * len(names))
    panel, stages = grid.panel(), sorted(int(stage) for stage in found.stage.unique())
    for (label, order), name in names.items():
        line = found[(found.label == label) & (found.order == order)].sort_values("stage")
        panel.line(line.estimate, [name] * len(line), colour=theme.muted, opacity=0.5, width=2)
    named = [names.get(pair, "") for pair in zip(found.label, found.order, strict=True)]
    last = table[table.stage == max(stages, default=0)]
    y = [names.get(pair) for pair in zip(last.label, last.order, strict=True)]
    one: dict[str, Any] = {
        "alpha": 0.5,
        "size": 6,
        "data": [last.seed],
        "hover": "%{x:.4f}, seed %{customdata[0]}<extra>%{y}</extra>",
    }
    panel.points(last.score, y, "one run, last stage", colour=theme.colour(0), **one)
    for stage, colour in zip(stages, theme.depths(len(stages)), strict=True):
        part, final = found.assign(name=named)[found.stage == stage], stage == stages[-1]
        up, down = (part.high - part.estimate), (part.estimate - part.low)
        bars: dict[str, Any] = (
            {"across": up.where(np.isfinite(up)), "across_left": down.where(np.isfinite(down))} if final else {}
        )
        look: dict[str, Any] = {
            "colour": colour,
            "symbol": grid.symbol(str(stage)),
            "size": 9,
            "edge": theme.background,
        }
        name = f"mean after stage {stage}" + (", 95 % interval" if final else "")
        look["hover"] = f"stage {stage}: %{{x:.4f}}<extra>%{{y}}</extra>"
        panel.points(part.estimate, part["name"], name, **look, **bars)
    return grid.x(score_title(table.metric if "metric" in table else ())).y(categories=list(names.values()))


def _answer(table: pd.DataFrame) -> Answer:
    found = _means(table)
    wide = found.pivot_table(index=["label", "order"], columns="stage", values="estimate", sort=False)
    wide.columns = [f"after stage {stage}" for stage in wide.columns]
    ends = found.sort_values("stage", kind="stable").groupby(["label", "order"], sort=False).tail(1)
    ends = ends.set_index(["label", "order"])[["low", "high", "n"]].rename(columns={"n": "seeds [count]"})
    summary = wide.join(ends).reset_index()
    last = found[found.stage == found.stage.max()].sort_values("estimate", ascending=False)
    if not len(last):
        sentence = f"{counted(len(table), 'run')}, none with a score that is finite after its last stage."
        return Answer(sentence, summary)
    told = [f"{row.order}: {row.estimate:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in last.itertuples()]
    n, best = counted(int(last.n.max()), "seed"), {f"after stage {found.stage.max()}": "highest"}
    return Answer(
        listed(f"Score after the last stage, mean and 95 % interval over {n}, best first", told), summary, best=best
    )


def _example() -> pd.DataFrame:
    """Made-up scores of six orders."""
    orders = {
        "prompt → BitFit → adapter": (0.70, 0.78, 0.82),
        "prompt → adapter → BitFit": (0.70, 0.81, 0.82),
        "BitFit → prompt → adapter": (0.77, 0.76, 0.81),
        "BitFit → adapter → prompt": (0.77, 0.82, 0.81),
        "adapter → prompt → BitFit": (0.80, 0.80, 0.83),
        "adapter → BitFit → prompt": (0.80, 0.83, 0.82),
    }
    return pd.DataFrame(
        [
            {"label": "example", "order": order, "seed": seed, "stage": stage}
            | {"score": score + 0.012 * np.cos(5 * seed + 3 * stage + 2 * i)}
            for i, (order, scores) in enumerate(orders.items())
            for seed in range(3)
            for stage, score in enumerate(scores, start=1)
        ]
    )


SEQUENTIAL_COMBINATION = Figure(
    name="sequential_combination",
    title="Sequential combinations",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=5,
    averages=("seed",),
    caption=(
        "Validation score after each of three stages, for every order of prompt, BitFit and adapter. In a stage one "
        "delta is trained on what the earlier ones have made of the PLM; these no longer move. Marks are means over "
        "seeds, dots the runs after the last stage, whiskers the 95 % Student interval of their mean."
    ),
    reading=(
        "Follow a line from its first stage to its last: where it moves right, going on with another delta paid. "
        "Whiskers that overlap from row to row: these seeds do not tell the orders apart, and an order that leads does "
        "so by chance as far as they show. The row of all at once has as many steps as the three stages together."
    ),
    source=(DING_2022,),
    example=_example,
    optional=_OPTIONAL,
)
