"""What other tasks explain of a task's change, against the number of shared directions, beside null collections."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.each_collection import each_once
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import QIN_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("shared_directions", "label", "null", "k", "share", "null_low", "null_high", "p")
_LEVEL = 0.05
DRAWN = "collections drawn at random"


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel for each null of one collection, whose bands would cover one another; of several, one for each."""
    table = each_once(table)
    alone = table.label.nunique() == 1
    grid = Grid(theme, wrap=2 if alone else 3, height=270 if alone else 360, share_x=alone, share_y=True)
    for panel, part in grid.by(table, "null" if alone else "label"):
        for null, rows in split(part, "null"):
            rows, name = rows.sort_values("k"), DRAWN if alone else null
            panel.band(rows.k, rows.null_low, rows.null_high, name, colour=grid.colour(name), alpha=0.3, edge=1)
        own = part.sort_values("k").drop_duplicates("k")
        hover = "%{x} directions: %{y:.1%} of ‖ΔW‖²"
        panel.line(own.k, own.share, "the tasks", colour=theme.ink, symbol="circle", hover=hover)
        panel.rule(y=0, dash="solid")
    return grid.x("shared directions k [count]", whole=True).y("explained by the others [share of ‖ΔW‖²]", percent=True)


def counted_directions(part: pd.DataFrame) -> int:
    """Directions in a row, from the first, whose gain is beyond chance."""
    beyond = part.sort_values("k").query("k > 0").p.to_numpy() <= _LEVEL
    return int(len(beyond) if beyond.all() else np.argmin(beyond))


def _answer(table: pd.DataFrame) -> Answer:
    rows = []
    for label, part in split(each_once(table), "label"):
        for null, own in split(part, "null"):
            own = own.sort_values("k")
            counted, at = counted_directions(own), dict(zip(own.k, own.share, strict=True))
            rows.append(
                {"collection": label, "null": null, "beyond chance [directions]": counted,
                 "mean alone [share of ‖ΔW‖²]": at.get(0, np.nan),
                 "they explain [share of ‖ΔW‖²]": at.get(counted, np.nan), "p of the mean": own.p.iloc[0]}
            )  # fmt: skip
    found = pd.DataFrame(rows)
    told = [
        f"{row['beyond chance [directions]']} beyond {row['null']}"
        + (f" ({row['collection']})" if found.collection.nunique() > 1 else "")
        for row in found.to_dict("records")
    ]
    most = found.iloc[0]
    end = (
        f". The mean of the others alone explains {most['mean alone [share of ‖ΔW‖²]']:.0%} of a task, "
        f"with them {most['they explain [share of ‖ΔW‖²]']:.0%}."
    )
    return Answer(listed("Shared directions", told, end=end), found)


def _example() -> pd.DataFrame:
    """Made-up: four directions shared, two of them as any activations would have it."""
    rows = []
    for null, level, reach in (("same spectra", 0.0, 0), ("inputs of the layers at θ₀", 0.12, 2)):
        for k in range(9):
            share = 0.1 + 0.5 * (1 - 0.6 ** min(k, 4)) + 0.004 * k
            middle = -0.1 + level * min(k, reach) + 0.002 * k
            p = 0.05 if k == 0 or reach < k <= 4 else 0.4
            rows.append(("LoRA r = 8", null, k, share, middle - 0.02, middle + 0.02, p))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


SHARED_DIRECTIONS = Figure(
    name="shared_directions",
    title="What tasks share, beside chance",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=13,
    averages=("seed", "task"),
    caption=(
        "Share of a task's weight change ‖ΔW‖² that the affine subspace of the other tasks explains, mean over the "
        "tasks, against the number of principal directions around their mean (0: the mean alone). Bands: 95 % of "
        "collections drawn at random that keep the spectrum of every change and what the panel or legend names."
    ),
    reading=(
        "A line above a band means that the tasks share more than such chance gives; where both rise alike, the "
        "direction adds nothing of the tasks' own. The value at 0 is what the mean adapter does alone, and it is "
        "negative when the mean is farther from a task than the untouched PLM is. A direction counts as shared when "
        "it adds more than in 19 of 19 drawn collections, and so do all before it. That activations at θ₀ already "
        "predict a shared input space says that the PLM shares, not the tasks. A share of ‖ΔW‖² is no score."
    ),
    source=(QIN_2021,),
    example=_example,
)
