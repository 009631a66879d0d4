"""With and without a manual template, on growing amounts of data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, first_seen, listed
from lab.figures.sources import DING_2022, DING_2023, GAO_2021
from lab.figures.style import Theme, score_title
from lab.statistics import Answer, mean_interval
from lab.statistics.template import READINGS, gains

_COLUMNS = columns("template", "label", "amount", "reading", "seed", "score")
_OPTIONAL = columns("template", "metric")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=340, share_y=True)
    amounts, readings = first_seen(table.amount), first_seen(table.reading)
    for panel, part in grid.by(table, "label"):
        for i, reading in enumerate(readings):
            at = {amount: n + 0.16 * (i - (len(readings) - 1) / 2) for n, amount in enumerate(amounts)}
            _series(panel, part[part.reading == reading], at, reading)
    ends = (-0.5, len(amounts) - 0.5)
    grid.x("training data [amount]", ticks=dict(enumerate(amounts)), range=ends)
    return grid.y(score_title(table.metric if "metric" in table else ()))


def _series(panel: Panel, part: pd.DataFrame, at: dict[str, float], reading: str) -> None:
    """One reading: every run as a point, means with their interval joined by a line."""
    colour, finite = panel.grid.colour(reading), part[np.isfinite(part.score.astype(float))]
    look: dict[str, Any] = {"colour": colour, "alpha": 0.45, "size": 6, "listed": False, "data": [finite.seed]}
    panel.points(finite.amount.map(at), finite.score, reading, hover="%{y:.4f}, seed %{customdata[0]}", **look)
    found = {str(amount): mean_interval(list(group.score)) for amount, group in finite.groupby("amount", sort=False)}
    bounded = [np.isfinite(q.low) for q in found.values()]
    up = [q.high - q.estimate if known else None for q, known in zip(found.values(), bounded, strict=True)]
    down = [q.estimate - q.low if known else None for q, known in zip(found.values(), bounded, strict=True)]
    x, y = [at[amount] for amount in found], [q.estimate for q in found.values()]
    bars: dict[str, Any] = {
        "error": up,
        "error_down": down,
        "symbol": panel.grid.symbol(reading),
        "size": 9,
        "width": 2,
    }
    panel.line(x, y, reading, colour=colour, hover="mean %{y:.4f}", **bars)


def _answer(table: pd.DataFrame) -> Answer:
    rows, told, differences = [], [], gains(table)
    for (label, amount), part in table.groupby(["label", "amount"], sort=False):
        means = part.groupby("reading", sort=False).score.mean()
        row: dict[str, Any] = {"label": label, "amount": amount, "seeds [count]": part.seed.nunique()}
        row |= {str(reading): float(score) for reading, score in means.items()}
        if values := differences.get((str(label), str(amount))):
            gain = mean_interval(values)
            row |= {"gain": gain.estimate, "low": gain.low, "high": gain.high}
            told.append(f"{label}, {amount}: {gain.estimate:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
        rows.append(row)
    means = table.groupby(["label", "reading"], sort=False).score.mean()
    scores = [
        f"{label}, {reading}: {score:.3f}" for label, reading, score in means.reset_index().itertuples(index=False)
    ]
    lead = f"What the template adds to the score ({READINGS[0]} − {READINGS[1]})" if told else "Mean score"
    return Answer(listed(lead, told or scores), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up scores: a large gain that shrinks."""
    means = {"zero-shot": (0.72, 0.5), "16 per class": (0.78, 0.6), "480 examples": (0.84, 0.83)}
    return pd.DataFrame(
        [
            {"label": "example", "amount": amount, "reading": reading, "seed": seed}
            | {
                "score": score
                + (0 if amount == "zero-shot" and reading == READINGS[0] else 0.02 * np.cos(5 * seed + i))
            }
            for amount, scores in means.items()
            for i, (reading, score) in enumerate(zip(READINGS, scores, strict=True))
            for seed in range(3)
        ]
    )


TEMPLATE = Figure(
    name="template",
    title="Manual templates",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=8,
    averages=("seed",),
    caption=(
        "Validation score with a manual template, whose label words the pre-trained language-model head predicts, and "
        "without, under a new classification head, on growing amounts of training data. Every run is a point; marks "
        "are means over seeds with the 95 % Student interval."
    ),
    reading=(
        "Left, nothing is trained: with the template the score is what the PLM knows about the task, without it a "
        "random head's guess, near chance. Where the two lines meet, the data have taught the new head what the "
        "template gave for nothing. The gains in the table are paired by seed: few-shot seeds also choose the "
        "examples, so the gain is known better than either mean."
    ),
    source=(DING_2023, DING_2022, GAO_2021),
    example=_example,
    optional=_OPTIONAL,
)
