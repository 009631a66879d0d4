"""Ranks planned before training against equal ranks, and what the methods' first steps promise."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, first_seen, half_width, listed, split, spread
from lab.figures.sources import HU_2021, LI_2017
from lab.figures.style import Theme
from lab.statistics import Answer, mean_interval

_COLUMNS = columns(
    "planner", "label", "kind", "seed", "loss", "score", "loss_difference", "score_difference", "promised"
)
_KINDS = {
    "ranks": "LoRA, ranks shared out by a rule",
    "method": "another method at the same budget",
    "recommended": "what the planner recommends",
}
_PANELS = {
    "loss_difference": "loss beside equal ranks [nats]",
    "score_difference": "score beside equal ranks [fraction]",
}


def _compared(table: pd.DataFrame) -> list[str]:
    """Labels but the reference, whose difference is 0 by definition; all labels where there is nothing else."""
    found = first_seen(table.label)
    others = [label for label in found if bool((table.loss_difference[table.label == label] != 0).any())]
    return others or found


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid, labels = Grid(theme, wrap=3, height=320, share_y=True), _compared(table)
    for i, (quantity, title) in enumerate(_PANELS.items()):
        panel = grid.panel().rule(x=0, dash="dash").x(title)
        for label, part in split(table[table.label.isin(labels)], "label"):
            kind = part.kind.iloc[0]
            name = _KINDS.get(kind, kind) if i == 0 else ""
            spread(panel, part[quantity].tolist(), label, colour=grid.colour(kind), name=name)
    _promises(grid.panel(), table[table.promised.notna()])
    return grid.y(categories=labels)


def _promises(panel: Panel, table: pd.DataFrame) -> None:
    """Promised fall against final loss, one point per method with its interval over seeds; markers tell methods."""
    for label, part in split(table, "label") if len(table) else ():
        found, colour = mean_interval(part.loss.tolist()), panel.grid.colour(part.kind.iloc[0])
        name = label.replace("equal ranks", "LoRA, equal ranks")
        panel.points(
            [part.promised.mean()], [found.estimate], name, error=[half_width(found)], colour=colour, listed=False,
            symbol=panel.grid.symbol(name), key=name, hover="promised %{x:.3g} nats, loss %{y:.3f}",
        )  # fmt: skip
    panel.x("fall promised at the start [nats]").y("final loss [nats]")


def _answer(table: pd.DataFrame) -> Answer:
    rows, estimates = [], {}
    for label, part in split(table, "label"):
        loss, score = (mean_interval(part[name].tolist()) for name in _PANELS)
        row = {"label": label, "seeds [count]": part.seed.nunique(), "loss [nats]": part.loss.mean()}
        row |= {"score": part.score.mean(), "loss beside equal ranks [nats]": loss.estimate}
        row |= {"loss ± [nats]": half_width(loss) if loss.n > 1 else np.nan}
        row |= {"score beside equal ranks": score.estimate, "score ±": half_width(score) if score.n > 1 else np.nan}
        rows.append(row | {"promised fall [nats]": part.promised.mean()})
        estimates[f"loss beside equal ranks, {label}"] = loss
    compared = set(_compared(table))
    told = [
        f"{row['label']}: {row['loss beside equal ranks [nats]']:+.3f} ± {row['loss ± [nats]']:.3f}"
        for row in sorted(rows, key=lambda row: estimates[f"loss beside equal ranks, {row['label']}"].estimate)
        if row["label"] in compared
    ]
    lead = "Validation loss beside LoRA with equal ranks [nats], mean and interval over seeds"
    return Answer(listed(lead, told), pd.DataFrame(rows), estimates, best={"loss beside equal ranks [nats]": "lowest"})


def _example() -> pd.DataFrame:
    """Made-up runs: one rule helps a little, random ranks do not."""
    rng = np.random.default_rng(0)
    rows = []
    specification = {
        "by kernel": ("ranks", -0.05, np.nan),
        "by gramian": ("ranks", 0.01, np.nan),
        "random ranks": ("ranks", 0.04, np.nan),
        "equal ranks": ("ranks", 0.0, 0.08),
        "recommended": ("recommended", -0.05, np.nan),
        "BitFit": ("method", 0.1, 0.05),
        "prefix of 6": ("method", -0.08, 0.11),
    }
    for seed in range(3):
        for label, (kind, shift, promised) in specification.items():
            difference = 0.0 if label == "equal ranks" else shift + 0.02 * rng.standard_normal()
            rows.append(
                (label, kind, seed, 0.4 + difference, 0.9 - difference / 3, difference, -difference / 3, promised)
            )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


PLANNER = Figure(
    name="planner",
    title="Planned ranks against equal ranks",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=11,
    conclude=_answer,
    averages=("seed",),
    caption=(
        "Left and middle: validation loss and score after training, beside LoRA with equal ranks and the same seed, "
        "for ranks shared out by a rule before training, for other methods, and for what the planner recommends, all "
        "at one parameter budget: every seed, mean and 95 % interval. Right: final loss of each method against the "
        "fall of the loss that its layers promise at the start, one marker per method."
    ),
    reading=(
        "A rule helps where its interval lies left of the dashed line (loss) or right of it (score); the null is "
        "random ranks, which should lie on the line or on its wrong side. On the right, points that fall from left to "
        "right mean that the promise orders the methods. Differences hold for this budget and this many steps."
    ),
    source=(LI_2017, HU_2021),
    example=_example,
)
