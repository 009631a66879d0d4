"""What control at test time wins back: robust prefix, LQR and PID steering, random steering."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.seed_dots import half_width, seed_dots, zero_line
from lab.figures.sources import YANG_2022
from lab.figures.style import Theme, plain
from lab.statistics import mean_interval

_COLUMNS = {
    "control": Column("the control applied at test time", TEXT),
    "kind": Column("perturbation, or clean", TEXT),
    "strength": Column("its strength", "1"),
    "seed": Column("seed of the training run", "count"),
    "gain": Column("accuracy with the control − without, on the same examples", "fraction"),
    "uncontrolled": Column("accuracy without the control", "fraction"),
    "off_before": Column("squared deviation from the layers' subspaces without the control", "1"),
    "off_after": Column("the same with the control", "1"),
}
_LATER = {
    "label": Column("the trained method under control", TEXT),
    "energy": Column("Σ_t ‖u_t‖² per example; empty where the control is no steering", "squared units of state"),
    "injected": Column("Σ_t of what the delta itself adds there, per example", "squared units of state"),
}


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Controls named with the method they act on where there are several."""
    several = "label" in table and table.label.nunique() > 1
    return table.assign(control=table.label + ": " + table.control) if several else table


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = _named(table)
    steerings = list(dict.fromkeys(control.rpartition(": ")[2] for control in table.control))
    kinds, controls = list(dict.fromkeys(table.kind)), list(dict.fromkeys(table.control))
    order = [plain(control) for control in reversed(controls)]
    titles = [f"{plain(kind)} {table.strength[table.kind == kind].max():g}".removesuffix(" 0") for kind in kinds]
    figure = make_subplots(
        2, len(kinds), shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.22, subplot_titles=titles
    )
    figure.update_annotations(font=None)
    for column, kind in enumerate(kinds, start=1):
        for control in controls:
            steering = control.rpartition(": ")[2]
            part = table[(table.kind == kind) & (table.control == control)]
            if part.empty:
                continue
            colour = theme.muted if steering.startswith("random") else theme.colour(steerings.index(steering))
            top, below = ({"row": row, "col": column} for row in (1, 2))
            seed_dots(figure, part.gain.tolist(), plain(control), colour, top)
            change = (part.off_after / part.off_before - 1).replace([np.inf, -np.inf], np.nan).dropna()
            if len(change):
                seed_dots(figure, change.tolist(), plain(control), colour, below)
        for row, title in enumerate(("change of accuracy [fraction]", "change of deviation [relative]"), start=1):
            zero_line(figure, theme.muted, {"row": row, "col": column})
            figure.update_xaxes(title_text=title, row=row, col=column)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order, range=[-0.6, len(order) - 0.4])
    figure.update_layout(height=170 + (56 if len(controls) <= 4 else 40) * len(controls))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (control, kind), part in _named(table).groupby(["control", "kind"], sort=False):
        found = mean_interval(part.gain.tolist())
        rows.append(
            {"control": control, "inputs": kind, "seeds [count]": part.seed.nunique(),
             "accuracy without": part.uncontrolled.mean(), "gain": found.estimate,
             "gain ±": half_width(found) if found.n > 1 else np.nan, "deviation before": part.off_before.mean(),
             "deviation after": part.off_after.mean(),
             **{f"{name} [per example]": part[name].mean() for name in ("energy", "injected") if name in part}}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    parts = [
        f"{row['control']} on {row['inputs']} inputs {row['gain']:+.3f} ± {row['gain ±']:.3f}"
        for row in _summary(table).to_dict("records")
    ]
    return f"Change of accuracy by control at test time, mean and interval over seeds: {'; '.join(parts)}."


def _example() -> pd.DataFrame:
    """Made-up gains: small for controls that look ahead, none for random ones."""
    rng = np.random.default_rng(0)
    rows = []
    for control, gain, ratio in (("robust prefix", 0.02, 0.8), ("LQR steering", 0.03, 0.3), ("PID steering", 0.01, 0.5),
                                 ("random steering", 0.0, 1.4)):  # fmt: skip
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
    summary=_summary,
    describe=_describe,
    caption=(
        "Trained methods under control at test time, without labels: change of accuracy (top) and of the squared "
        "deviation of activations from the subspaces of correctly classified training data (bottom). LQR, PID and "
        "random steering spend the same energy on every method. Every seed, mean and 95 % interval."
    ),
    reading=(
        "The bottom row says whether a control does what it was made for: left of the dashed line, activations return "
        "to their subspaces. The top row says whether that helps. A control that lowers the deviation and leaves the "
        "accuracy where it was shows that the subspaces hold what the classifier does not need. Random steering "
        "(grey) is the null."
    ),
    source=(YANG_2022,),
    example=_example,
    optional=_LATER,
)
