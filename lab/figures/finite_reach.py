"""Reach at finite size over what first order says, and Hankel values along depth."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.gramian_spectra import SEED
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import LALL_2002, MOORE_1981
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("finite_reach", "label", "kind", "x", "index", "value", "model", "task")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=340, labels=table.label)
    reach, hankel = (table[table.kind == kind] for kind in ("reach", "Hankel"))
    for place, part in split(reach, "model", "task") if len(reach) else ():
        panel = grid.panel(f"{place}, beyond first order").rule(y=1, dash="solid")
        for label, own in split(part, "label"):
            look, mean = grid.look(label), own.groupby("x").value.mean()
            panel.line(mean.index, mean, label, colour=look.colour, symbol=look.symbol, hover="%{x:g}: %{y:.3g}")
        panel.x("size of the control [first-order logits]", log=True).y("tr W<sub>ε</sub> over tr W [1]", log=True)
    for place, part in split(hankel[hankel["index"] == 1], "model", "task") if len(hankel) else ():
        panel = grid.panel(f"{place}, driven and seen")
        for label, own in split(part, "label"):
            look, mean = grid.look(label), own.groupby("x").value.mean()
            panel.line(mean.index, mean, label, colour=look.colour, symbol=look.symbol, hover="cut %{x}: %{y:.3g}")
        panel.x("cut: state that leaves so many blocks [index]", whole=True)
        panel.y("largest Hankel value [logits per unit of φ]", log=True)
    return grid


def _answer(table: pd.DataFrame) -> Answer:
    """Per method: the size at which first order is wrong by half, and where half of the Hankel value is there."""
    rows, told = [], []
    for label, part in split(table, "label", "model", "task"):
        reach = part[part.kind == "reach"].groupby("x").value.mean()
        top = part[(part.kind == "Hankel") & (part["index"] == 1)].groupby("x").value.mean()
        wrong = reach[(reach > 1.5) | (reach < 0.5)]
        row = {
            "method": label,
            "wrong by half from [first-order logits]": float(wrong.index[0]) if len(wrong) else None,
        }
        half = top[top >= 0.5 * top.max()] if len(top) else top
        rows.append(row | {"half of the Hankel value by block [index]": int(half.index[0]) if len(half) else None})
        told.append(f"{label}: {wrong.index[0]:g}" if len(wrong) else f"{label}: none tried")
    lead = "Size of a control, in first-order logits, from which first order is wrong by half"
    return Answer(listed(lead, told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up: a product reaches more than first order says, an additive method the same until it saturates."""
    rows, place = [], ("minilm", "bbc-news")
    for label, curve in (("LoRA r = 1", 0.4), ("BitFit", 0.0)):
        for x in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0):
            rows.append((label, "reach", x, 0, (1 + curve * x**2) / (1 + 0.02 * x**2) ** 1.5, *place))
        for cut in range(1, 7):
            for index in (1, 2):
                rows.append((label, "Hankel", cut, index, 0.3 * cut**0.5 / index * (1 + (curve > 0)), *place))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


FINITE_REACH = Figure(
    name="finite_reach",
    title="Reach beyond first order",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="control",
    order=19,
    optional=SEED,
    averages=("seed",),
    caption=(
        "Trace of the empirical Gramian of the logits over that of the first-order one, against the size of the "
        "control (1: first order promises a change of one logit, root mean square), and the largest Hankel value at "
        "each cut of the network: the strongest direction of the state that controls before the cut drive and the "
        "logits show."
    ),
    reading=(
        "On the line at 1 first order is right. Above it a method reaches by the product of its own factors what no "
        "derivative at its start sees; below it the network saturates. A Hankel value that grows along depth says at "
        "which block a method gains its hold on the output. Norms are in each method's own coordinates."
    ),
    source=(LALL_2002, MOORE_1981),
    example=_example,
)
