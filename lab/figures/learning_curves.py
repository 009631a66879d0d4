"""Loss and score against training steps: mean over seeds, and the range of the seeds as a band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, rounded, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, score_title
from lab.statistics import Answer

_COLUMNS = columns("learning_curves", "label", "seed", "step", "seconds", "split", "loss", "score")
_DASHES = {"validation": "solid", "train": "dot"}
_OPTIONAL = columns("learning_curves", "metric")


def curves(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Mean and range over seeds of "loss" or "score" at each step: label, split, step, mean, low, high, seeds, seconds.

    Values that are not finite (diverged, not evaluated) are left out.
    """
    finite = table[np.isfinite(table[quantity].astype(float))]
    grouped = finite.groupby(["label", "split", "step"], sort=False)
    found = grouped[quantity].agg(mean="mean", low="min", high="max", seeds="count")
    found["seconds"] = grouped["seconds"].mean()
    return found.reset_index().sort_values(["label", "split", "step"], kind="stable").reset_index(drop=True)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    table = rounded(table, "label")
    grid = Grid(theme, wrap=2, height=420, labels=table.label)
    titles = {"loss": "loss [nats]", "score": score_title(table.metric if "metric" in table else [])}
    hover = "step %{x}, %{customdata[3]:.1f} s<br>%{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]"
    hover += "<br>%{customdata[2]:.0f} seeds"
    for quantity, title in titles.items():
        panel = grid.panel().y(title)
        for label, own in split(curves(table, quantity), "label"):
            look = grid.look(label)
            for which, part in split(own, "split"):
                if (part.seeds > 1).any() and which != "train":
                    panel.band(part.step, part.low, part.high, label, colour=look.colour)
                style: dict[str, Any] = {
                    "colour": look.colour,
                    "symbol": look.symbol,
                    "size": 5,
                    "hover": hover,
                    "key": which,
                }
                style |= {"dash": _DASHES.get(which, "dash")}
                style |= {"data": [part.low, part.high, part.seeds, part.seconds]}
                panel.line(part.step, part["mean"], label, **style)
    return grid.x("step [count]", zero=True)


def _last(table: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of every label, split and seed."""
    ordered = table.sort_values("step", kind="stable")
    return ordered.groupby(["label", "split", "seed"], sort=False).tail(1)


def _answer(table: pd.DataFrame) -> Answer:
    """Per label and split the mean of the last evaluations over seeds, and their range."""
    grouped = _last(rounded(table, "label")).groupby(["label", "split"], sort=False)
    columns = {
        "seeds [count]": ("seed", "nunique"),
        "steps [count]": ("step", "max"),
        "time [s]": ("seconds", "mean"),
        "loss [nats]": ("loss", "mean"),
        "score": ("score", "mean"),
        "lowest score": ("score", "min"),
        "highest score": ("score", "max"),
    }
    found = grouped.agg(**{name: pd.NamedAgg(*how) for name, how in columns.items()}).reset_index()
    shown = found[found.split == "validation"] if (found.split == "validation").any() else found
    told = [
        f"{row['label']}: {row['score']:.3f} [{row['lowest score']:.3f}, {row['highest score']:.3f}]"
        for row in shown.sort_values("score", ascending=False).to_dict("records")
    ]
    return Answer(listed(f"Last {shown['split'].iloc[0]} score, mean and range over seeds", told), found)


def _example() -> pd.DataFrame:
    """Made-up exponential approaches of three methods, three seeds each."""
    rows = []
    for label, rate, best in (("full fine-tuning", 0.08, 0.93), ("LoRA r = 8", 0.05, 0.91), ("prompt", 0.015, 0.82)):
        for seed in range(3):
            for step in range(0, 101, 10):
                reached = (1 - np.exp(-rate * step)) * (1 + 0.02 * np.cos(3 * seed + step))
                for which, shift in (("validation", 0.0), ("train", 0.03)):
                    score = 0.2 + (best + shift - 0.2) * reached
                    row: dict[str, Any] = {
                        "label": label,
                        "seed": seed,
                        "step": step,
                        "seconds": 0.4 * step,
                        "split": which,
                    }
                    rows.append(row | {"loss": 1.6 * (1.1 - reached) - shift, "score": score})
    return pd.DataFrame(rows)


LEARNING_CURVES = Figure(
    name="learning_curves",
    title="Learning curves",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="training",
    order=1,
    caption=(
        "Loss (left) and score (right) on validation (solid) and training data (dotted) against optimiser steps. "
        "Lines are means over seeds, bands the range over seeds on validation data."
    ),
    reading=(
        "A curve that rises earlier converges faster; its height at the end is what the method reaches in this many "
        "steps. Where the bands of two methods overlap, these seeds do not tell them apart. A dotted line that "
        "leaves its solid one upwards (score) or downwards (loss) is the generalisation gap."
    ),
    source=(DING_2022,),
    example=_example,
    table="history",
    averages=("seed",),
    optional=_OPTIONAL,
)
