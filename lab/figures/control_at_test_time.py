"""What control at test time wins back: robust prefix, LQR and PID steering, random steering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, half_width, listed, split, spread
from lab.figures.sources import YANG_2022
from lab.figures.style import Theme
from lab.statistics import Answer, mean_interval

_COLUMNS = columns(
    "control_at_test_time", "control", "kind", "strength", "seed", "gain", "uncontrolled", "off_before", "off_after"
)
_LATER = columns("control_at_test_time", "label", "energy", "injected")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Controls named with the method they act on where there are several."""
    several = "label" in table and table.label.nunique() > 1
    return table.assign(control=table.label + ": " + table.control) if several else table


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A row of panels per method: at the left the change of accuracy, at the right that of the deviation; in each the
    controls by the perturbation they act on."""
    methods = split(table, "label") if "label" in table else [("", table)]
    cells = {method: _cells(own) for method, own in methods}
    grid = Grid(theme, wrap=2, height=60 + 24 * max(map(len, cells.values())))
    for method, rows in cells.items():
        for i, title in enumerate(("change of accuracy [fraction]", "change of deviation [relative]")):
            panel = grid.panel(method, new_row=i == 0).y("inputs: control [name]", categories=list(rows))
            panel.rule(x=0, dash="dash").x(title)
            for name, part in rows.items():
                control = str(part.control.iloc[0])
                colour = theme.muted if control.startswith("random") else grid.colour(control)
                change = (part.off_after / part.off_before - 1).replace([np.inf, -np.inf], np.nan).dropna()
                values = part.gain.tolist() if i == 0 else change.tolist()
                if values:
                    spread(panel, values, name, colour=colour)
    return grid


def _cells(own: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """ "typos 0.6: LQR steering" → its rows, perturbation by perturbation."""
    return {
        f"{kind} {part.strength.max():g}".removesuffix(" 0") + f": {control}": part
        for kind, group in split(own, "kind")
        for control, part in split(group, "control")
    }


def _answer(table: pd.DataFrame) -> Answer:
    rows: list[dict[str, Any]] = []
    for (control, kind), part in _named(table).groupby(["control", "kind"], sort=False):
        found = mean_interval(part.gain.tolist())
        row = {"control": control, "inputs": kind, "seeds [count]": part.seed.nunique()}
        row |= {"accuracy without": part.uncontrolled.mean(), "gain": found.estimate}
        row |= {"gain ±": half_width(found) if found.n > 1 else np.nan}
        row |= {"deviation before": part.off_before.mean(), "deviation after": part.off_after.mean()}
        spent = {f"{name} [per example]": part[name].mean() for name in ("energy", "injected") if name in part}
        rows.append(row | spent)
    told = [
        f"{row['control']} on {row['inputs']} inputs: {row['gain']:+.3f} ± {row['gain ±']:.3f}"
        for row in sorted(rows, key=lambda row: -abs(row["gain"]))
    ]
    lead = "Change of accuracy by control at test time, mean and interval over seeds"
    return Answer(listed(lead, told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up gains: small for controls that look ahead, none for random ones."""
    rng = np.random.default_rng(0)
    rows = []
    for control, gain, ratio in (
        ("robust prefix", 0.02, 0.8),
        ("LQR steering", 0.03, 0.3),
        ("PID steering", 0.01, 0.5),
        ("random steering", 0.0, 1.4),
    ):
        for kind, strength, size in (("clean", 0.0, 0.2), ("word drops", 0.6, 1.0), ("embedding noise", 3.0, 1.0)):
            for seed in range(3):
                noise = 0.01 * rng.standard_normal()
                rows.append(
                    (control, kind, strength, seed, size * gain + noise, 0.8, 0.05, 0.05 * ratio + 0.1 * abs(noise))
                )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


CONTROL_AT_TEST_TIME = Figure(
    name="control_at_test_time",
    title="Control at test time",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=14,
    conclude=_answer,
    averages=("seed",),
    label="control",
    caption=(
        "Trained methods under control at test time, without labels: change of accuracy (left) and of the squared "
        "deviation of activations from the subspaces of correctly classified training data (right). LQR, PID and "
        "random steering spend the same energy on every method. Every seed, mean and 95 % interval."
    ),
    reading=(
        "The right panel says whether a control does what it was made for: left of the dashed line, activations return "
        "to their subspaces. The left panel says whether that helps. A control that lowers the deviation and leaves "
        "the accuracy where it was shows that the subspaces hold what the classifier does not need. Random steering "
        "(grey) is the null."
    ),
    source=(YANG_2022,),
    example=_example,
    optional=_LATER,
)
