"""What few coordinates of an autoencoder recover on seen and unseen tasks, beside those of plain PCA."""

from __future__ import annotations

from math import nan

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, apart, listed, split
from lab.figures.sources import QIN_2021
from lab.figures.style import Theme
from lab.statistics import Answer, Interval, mean_interval
from lab.statistics.intrinsic_prompt import OTHER_METHOD

_COLUMNS = columns("intrinsic_prompt", "label", "row", "task", "seen", "k", "cap", "relative")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=360, share_y=True)
    for panel, part in grid.by(table, "label", "seen"):
        rows = split(part, "row")
        for place, (row, own) in enumerate(rows):
            per_task = {int(at.k.iloc[0]): at.groupby("task").relative.mean() for _, at in own.groupby("k")}
            by_k = {k: _over_tasks(values.dropna()) for k, values in per_task.items()}
            panel.line(
                apart(list(by_k), place, len(rows)), [f.estimate for f in by_k.values()], row,
                symbol=grid.symbol(row), dash=grid.dash(row), data=[list(by_k)],
                error=[f.high - f.estimate if f.n > 1 else 0.0 for f in by_k.values()],
                hover="%{customdata[0]} coordinates: %{y:.0%} of the full method",
            )  # fmt: skip
        panel.rule(y=0, dash="solid").rule(y=1, dash="solid")
    grid.x("dimension of z [count]", log=True, ticks=sorted(table.k.unique()))
    return grid.y("relative score [of the full method's gain over chance]", percent=True)


def _over_tasks(values: pd.Series) -> Interval:
    return mean_interval(list(values)) if len(values) else Interval(nan, nan, nan, 0)


def _answer(table: pd.DataFrame) -> Answer:
    found = table.groupby(["label", "seen", "row", "k"], sort=False).agg(
        relative=("relative", "mean"), tasks=("relative", "count"), cap=("cap", "first")
    )
    found = found.reset_index()
    known = found.dropna(subset=["relative"])
    if known.empty:
        return Answer("No scored task was learned by the full method: there is no gain to take a share of.", found)
    best = known.loc[known.groupby(["label", "seen", "row"], sort=False).relative.idxmax()]
    several = found.label.nunique() > 1
    told = _beside_pca(table, several=several) or [
        f"{row['row']} {row['relative']:.0%} on {row['seen']} tasks ({row['k']:.0f} coordinates)"
        + (f", {row['label']}" if several else "")
        for row in best.to_dict("records")
    ]
    end = f". {found.cap.max() + 1:.0f} seen tasks span no more than {found.cap.max():.0f} dimensions."
    return Answer(listed("Of the full method's gain", told, end=end), found)


def _beside_pca(table: pd.DataFrame, *, several: bool) -> list[str]:
    """What each autoencoder has above PCA of the same φ at the most coordinates, task by task; unseen tasks first."""
    told = []
    parts = table.assign(late=table.seen != "unseen").groupby(["late", "label"], sort=True)
    for (_, label), part in parts:
        at = part[part.k == part.k.max()].groupby(["row", "task"]).relative.mean().unstack(0)
        for row in [name for name in at if name.startswith("autoencoder") and OTHER_METHOD not in name]:
            gain = (at[row] - at["PCA"]).dropna() if "PCA" in at else pd.Series(dtype=float)
            if gain.empty:
                continue
            found = mean_interval(list(gain))
            interval = f" [{found.low:+.0%}, {found.high:+.0%}]" if found.n > 1 else ""
            beside = f"{row} {found.estimate:+.0%}{interval} beside PCA's {at['PCA'].mean():.0%}"
            where = f"{part.seen.iloc[0]} tasks, {part.k.max():.0f} coordinates" + (f"; {label}" if several else "")
            told.append(f"{beside} ({where})")
    return told


def _example() -> pd.DataFrame:
    """Made-up: unseen tasks below seen ones, the autoencoder a little above PCA."""
    rows = []
    for seen, top in (("seen", 0.9), ("unseen", 0.7)):
        for row, more in (("PCA", 0.0), ("autoencoder, linear", 0.02), ("autoencoder, one hidden layer", 0.04)):
            for k in (2, 5, 10):
                for t in range(3):
                    relative = (top + more) * (1 - 0.5 * 0.7**k) - 0.04 * t
                    rows.append(("prompt 8", row, f"{seen} task {t}", seen, k, 15, relative))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


INTRINSIC_PROMPT = Figure(
    name="intrinsic_prompt",
    title="Coordinates from an autoencoder of trained deltas",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=20,
    averages=("seed", "task"),
    apart=("task",),
    caption=(
        "Relative score, (score − chance)/(full method's score − chance), of few trained coordinates z and a head, "
        "with φ = dec(z) and the decoder fixed: of an autoencoder trained on the seen tasks' φ and losses (Qin et al. "
        "2021), and of the principal components of the same φ. Means and 95 % intervals over the tasks that "
        "were learned; verdicts take shares of the summed gain of all."
    ),
    reading=(
        "What the autoencoder has above PCA in as many coordinates is worth its training. The distance from the seen "
        "to the unseen panel is what a decoder knows of its own tasks rather than of all. N seen tasks span N − 1 "
        "dimensions, so more are not tried."
    ),
    source=(QIN_2021,),
    example=_example,
)
