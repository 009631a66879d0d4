"""What k trained coordinates are worth on unseen tasks: in the shared subspace, in nulls of equal k, without any."""

from __future__ import annotations

from math import nan

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, apart, listed, split
from lab.figures.sources import QIN_2021
from lab.figures.style import Theme
from lab.statistics import Answer, Interval, mean_interval

_COLUMNS = columns("subspace_scores", "label", "task", "row", "k", "relative", "score")

_FIXED = ("dash", "dot", "dashdot", "longdash")
"""Of rows without trained coordinates, which are lines across."""


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=380, share_y=True)
    for panel, part in grid.by(table, "label"):
        trained = [row for row, own in split(part, "row") if own.k.max() > 0]
        fixed = [row for row, own in split(part, "row") if own.k.max() <= 0]
        for row, own in split(part, "row"):
            if row in trained:
                by_k = {int(at.k.iloc[0]): at.groupby("task").relative.mean().dropna() for _, at in own.groupby("k")}
                k = list(by_k)
                found = [_over_tasks(values) for values in by_k.values()]
                half = [f.high - f.estimate if f.n > 1 else 0.0 for f in found]
                panel.line(
                    apart(k, trained.index(row), len(trained)), [f.estimate for f in found], row,
                    symbol=grid.symbol(row), dash=grid.dash(row), error=half, data=[k],
                    hover="k = %{customdata[0]}: %{y:.0%} of the full method",
                )  # fmt: skip
            else:
                dash = _FIXED[fixed.index(row) % len(_FIXED)]
                panel.rule(
                    y=float(own.groupby("task").relative.mean().mean()),
                    name=row,
                    colour=grid.colour(row),
                    dash=dash,
                    width=1.8,
                )
        panel.rule(y=0, dash="solid").rule(y=1, dash="solid")
    grid.x("trained coordinates k [count]", log=True, ticks=sorted(table.k[table.k > 0].unique()))
    return grid.y("relative score [of the full method's gain over chance]", percent=True)


def _over_tasks(values: pd.Series) -> Interval:
    return mean_interval(list(values)) if len(values) else Interval(nan, nan, nan, 0)


def _answer(table: pd.DataFrame) -> Answer:
    """Per row and k the mean over unseen tasks; what the shared subspace gains over the best of the others."""
    found = (
        table.groupby(["label", "row", "k", "task"], sort=False)
        .relative.mean()  # of two records of one collection a task counts once
        .reset_index()
        .groupby(["label", "row", "k"], sort=False)
        .agg(relative=("relative", "mean"), least=("relative", "min"), tasks=("task", "nunique"))
        .reset_index()
        .sort_values(["label", "relative"], ascending=[True, False], kind="stable", ignore_index=True)
    )
    known = found.dropna(subset=["relative"])
    if known.empty:
        return Answer("No unseen task was learned by the full method: there is no gain to take a share of.", found)
    best = known.loc[known.groupby(["label", "row"], sort=False).relative.idxmax()].sort_values(
        "relative", ascending=False, kind="stable"
    )
    several = best.label.nunique() > 1
    told = [
        (f"{label}: " if several else "")
        + ", ".join(
            f"{row['row']} {row['relative']:.0%}" + (f" (k = {row['k']:.0f})" if row["k"] else "")
            for row in part.to_dict("records")[: 2 if several else None]
        )
        for label, part in (best.groupby("label", sort=False) if several else [("", best.loc[[i]]) for i in best.index])
    ]
    end = f", mean over {table.dropna(subset=['relative']).task.nunique()} unseen tasks."
    return Answer(listed("Of the full method's gain over chance", told, end=end), found)


def _example() -> pd.DataFrame:
    """Made-up: three unseen tasks; the shared subspace above its nulls, and both above the head alone."""
    rows = []
    for t, task in enumerate(("topic", "sentiment", "syntax")):
        for k in (1, 2, 4, 8):
            for row, top in (("shared subspace", 0.85), ("Fastfood", 0.55), ("same spaces, random cores", 0.65)):
                relative = 0.4 + (top - 0.4) * (1 - 0.7**k) - 0.03 * t
                rows.append(("LoRA r = 8", task, row, k, relative, 0.5 + 0.4 * relative))
        for row, relative in (("head alone", 0.4), ("head on the mean", 0.5)):
            rows.append(("LoRA r = 8", task, row, 0, relative - 0.03 * t, 0.5 + 0.4 * relative))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


SUBSPACE_SCORES = Figure(
    name="subspace_scores",
    title="What shared coordinates are worth on unseen tasks",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=16,
    averages=("seed", "task"),
    apart=("task",),
    caption=(
        "Relative score, (score − chance)/(full method's score − chance), on tasks that the subspace has not seen, "
        "against the number k of trained coordinates, the head trained in every row: k principal directions of the "
        "other tasks around their mean, as many in a random subspace and in subspaces of null collections; and of all "
        "tasks, the scored one among them (seen). Across: the head alone on a fixed body. Means and 95 % intervals "
        "over the tasks that the full method learned, set side by side; verdicts take shares of the summed gain of all."
    ),
    reading=(
        "What the shared subspace has above the Fastfood line of equal k is what other tasks know of this one; above "
        "the null subspaces, what they know beyond common inputs and outputs; above the lines across, what coordinates "
        "add to a head. A shared subspace no better than the head on the mean says that the mean adapter is all there "
        "is. Intervals of few tasks are wide, and step sizes are tuned on validation data for every row alike."
    ),
    source=(QIN_2021,),
    example=_example,
)
